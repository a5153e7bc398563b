"""What the columns of an archive mean: the YAML mapping, the built-in ones, and finding the one that fits a file.

Here: the model, loading with errors that name file, key, value and what is allowed, and a mapping to fill in when none
fits. Not here: reading rows.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.archive.days import DayFormat
from flywheel_pipelines.feedback.files import shown
from flywheel_pipelines.feedback.files.cells import names_shown

MEASURE_PATTERN = r"^[a-z][a-z0-9_]{1,47}$"
ColumnName = Annotated[str, Field(min_length=1)]
EMPTY = ""
"""How `null` in `leave_out` is kept: the cell is empty."""


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _as_cell(value: object) -> str:
    """A YAML value as a cell would spell it: true, 1 and null are compared as text."""
    return EMPTY if value is None else str(value).strip().casefold()


def _as_cells(value: object) -> object:
    return tuple(_as_cell(item) for item in value) if isinstance(value, list | tuple) else (_as_cell(value),)


class _Section(BaseModel):
    """A section of the YAML: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveColumns(_Section):
    """Which column of the file holds what."""

    brief: Annotated[tuple[ColumnName, ...], BeforeValidator(_as_list), Field(min_length=1)] = Field(
        description="Column, or list of columns, that together name what was to be produced."
    )
    text: ColumnName = Field(description="Column with the candidate as it was written.")
    cycle: ColumnName = Field(description="Column with the date, week or month; how it is written: cycle_format.")
    exposure: ColumnName = Field(description="Column that counts the trials, e.g. impressions.")
    successes: ColumnName = Field(description="Column that counts the successes, e.g. clicks.")
    segment: ColumnName | None = Field(default=None, description="Column with the group of briefs, if there is one.")
    title: ColumnName | None = Field(
        default=None, description="Column with a short name of the brief, if there is one."
    )


class Measures(_Section):
    """The names under which counts enter the metric ledger; a flywheel's metrics refer to them."""

    exposure: str = Field(pattern=MEASURE_PATTERN, description="Name of the trials in the ledger, e.g. impressions.")
    successes: str = Field(pattern=MEASURE_PATTERN, description="Name of the successes in the ledger, e.g. clicks.")


class ArchiveMapping(_Section):
    """What the columns of an archive mean."""

    columns: ArchiveColumns = Field(description="Which column holds what.")
    cycle_format: str = Field(default="%Y-%m-%d", description="How the cycle column is written, as strptime has it.")
    recorded_as: Measures | None = Field(
        default=None, description="Names in the metric ledger; without it, the names of the two columns."
    )
    leave_out: dict[ColumnName, Annotated[tuple[str, ...], BeforeValidator(_as_cells)]] = Field(
        default_factory=dict, description="Rows not to use: column, and the values that rule a row out (null = empty)."
    )

    @field_validator("cycle_format")
    @classmethod
    def _format_names_a_day(cls, value: str) -> str:
        DayFormat(value)
        return value

    @property
    def measures(self) -> Measures:
        """Names of the two counts in the metric ledger."""
        return self.recorded_as or Measures(
            exposure=_as_measure(self.columns.exposure, "exposure"),
            successes=_as_measure(self.columns.successes, "successes"),
        )

    @property
    def required_columns(self) -> list[str]:
        """Every column the file must have, each once."""
        columns = self.columns
        named = [*columns.brief, columns.text, columns.cycle, columns.exposure, columns.successes]
        optional = [name for name in (columns.segment, columns.title) if name]
        return list(dict.fromkeys([*named, *optional, *self.leave_out]))


def load_mapping(path: Path | str) -> ArchiveMapping:
    """Read a mapping from YAML.

    Raises:
        InputFileError: naming the file, the key, the value found and what is allowed; every problem on a line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputFileError(f"{path}: no such file. It is to say what the archive's columns mean.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"{path}: cannot be read as a mapping ({error}). Expected a YAML file in UTF-8."
        ) from error
    return parse_mapping(text, path.name)


def parse_mapping(text: str, source: str) -> ArchiveMapping:
    """The mapping that a YAML text declares; raises InputFileError as `load_mapping` does."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputFileError(f"{source}: not readable as YAML: {error}") from error
    if not isinstance(document, dict):
        raise InputFileError(
            f"{source}: found {shown(str(document))!r}, expected the keys {', '.join(ArchiveMapping.model_fields)}."
        )
    try:
        return ArchiveMapping.model_validate(document)
    except ValidationError as error:
        lines = "\n".join(f"  - {_explain(dict(problem))}" for problem in error.errors())
        raise InputFileError(f"{source}: the mapping was refused.\n{lines}") from error


def builtin_mappings() -> dict[str, ArchiveMapping]:
    """The mappings that come with the package, by name."""
    folder = resources.files("flywheel_pipelines.feedback.archive").joinpath("mappings")
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name)
    return {
        item.name.removesuffix(".yaml"): parse_mapping(item.read_text(encoding="utf-8"), item.name) for item in files
    }


def find_mapping(header: Sequence[str], source: str = "the file") -> tuple[str, ArchiveMapping]:
    """Name and content of the built-in mapping whose columns the file all has; the one using most columns wins.

    Raises:
        InputFileError: none fits; the text shows the header found and a mapping to fill in.
    """
    fitting = [
        (name, mapping) for name, mapping in builtin_mappings().items() if set(mapping.required_columns) <= set(header)
    ]
    if fitting:
        return max(fitting, key=lambda item: len(item[1].required_columns))
    raise InputFileError(
        f"{source}: none of the built-in mappings ({', '.join(builtin_mappings())}) fits its columns.\n"
        f"Header found: {names_shown(header)}\n"
        "Save this as mapping.yaml, put the right column names in, and pass it with --mapping mapping.yaml:\n\n"
        f"{mapping_to_fill_in(header)}"
    )


_USUAL_NAMES = {
    "brief": ("brief_id", "brief", "test_id", "test", "experiment", "campaign_id", "campaign", "keyword"),
    "text": ("text", "headline", "subject", "subject_line", "title", "copy", "body"),
    "cycle": ("date", "day", "week", "week_of", "sent_at", "month"),
    "exposure": ("impressions", "exposure", "sends", "sent", "views", "delivered"),
    "successes": ("clicks", "successes", "opens", "replies", "conversions"),
}
_PLACEHOLDER = "COLUMN_NAME"


def mapping_to_fill_in(header: Sequence[str]) -> str:
    """A mapping in YAML with the columns that can be guessed from their names, placeholders for the others."""
    by_plain_name = {_plain(name): name for name in header if shown(name) == name}
    guessed = {
        role: next((by_plain_name[name] for name in names if name in by_plain_name), _PLACEHOLDER)
        for role, names in _USUAL_NAMES.items()
    }
    columns = {**guessed, "brief": [guessed["brief"]]}
    return yaml.safe_dump({"columns": columns, "cycle_format": "%Y-%m-%d"}, sort_keys=False, allow_unicode=True)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _as_measure(column: str, fallback: str) -> str:
    plain = _plain(column)
    return plain if re.match(MEASURE_PATTERN, plain) else fallback


def _explain(problem: dict[str, Any]) -> str:
    """One pydantic problem as: key, what was found, what is allowed."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "the whole file"
    section = {"columns": ArchiveColumns, "recorded_as": Measures}.get(location[0]) if len(location) > 1 else None
    fields = (section or ArchiveMapping).model_fields
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], list(fields), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"key {key}: unknown.{hint} Allowed here: {', '.join(fields)}."
    field = fields.get(location[1] if section else location[0])
    description = (field.description or "") if field else ""
    if problem["type"] == "missing":
        return f"key {key}: missing. {description}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"key {key}: found {shown(repr(problem['input']))}. {message}. {description}".rstrip()
