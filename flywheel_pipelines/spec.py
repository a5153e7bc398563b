"""The YAML contract of a flywheel: the one place where configuration is read and refused.

Here: the pydantic models behind `defs/<name>/defs.yaml`, and `load_spec`, whose errors name file, key, value and what
is allowed. Not here: what a setting does; no other module checks configuration again.
"""

from __future__ import annotations

import difflib
import hashlib
import types
import typing
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails

from flywheel_pipelines.cycles import Cadence, cycle_of, shift_cycle
from flywheel_pipelines.errors import SpecError

COMPONENT_TYPE = "flywheel_pipelines.components.FlywheelComponent"
MIN_CONTROL_SHARE = 0.05
"""Below this share the control arm is too thin to notice a treadmill; `control: off` must be said out loud."""

NAME_PATTERN = r"^[a-z][a-z0-9_]{1,47}$"
OWNER_PATTERN = r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
Share = Annotated[float, Field(gt=0, lt=1)]


UNKNOWN = "unknown key"


class _Section(BaseModel):
    """A section of the YAML: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # YAML 1.1 reads yes, no, on and off as booleans, and pydantic would take those for 1 and 0.
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("yes, no, on, off, true and false are no value for this key")
        return value


class BriefsSpec(_Section):
    """Where briefs come from."""

    feed: str = Field(default="archive", pattern=NAME_PATTERN, description="Feed that delivers the briefs.")


class ArchiveProducer(_Section):
    """Chooses among outputs that people wrote before the flywheel existed."""

    kind: Literal["archive"] = Field(description="archive: choose among existing outputs.")
    publish: Literal["all", "choice"] = Field(
        default="choice",
        description="all: every candidate goes out, as in an A/B test, and the control is the expected value of a "
        "random choice. choice: only the chosen one and, for the control share of briefs, one drawn at random.",
    )


class ArmsSpec(_Section):
    """How much of production stays on the treadmill, so that the flywheel has something to be measured against."""

    control: float | Literal["off"] = Field(
        default=0.2,
        description="Share of briefs with a control output, 0.05 to 1; `off` gives up the proof that it compounds.",
    )
    comparison: Literal["between_briefs", "within_brief"] = Field(
        default="between_briefs",
        description="between_briefs: each brief belongs to one arm. within_brief: a brief is answered by both arms.",
    )

    @field_validator("control", mode="before")
    @classmethod
    def _yaml_off_is_a_word(cls, value: object) -> object:
        # YAML 1.1 reads a bare `off` as false.
        if value is False:
            return "off"
        if value is True or isinstance(value, str):
            if value == "off":
                return value
            raise ValueError(f"expected a share between {MIN_CONTROL_SHARE} and 1, or off")
        return value

    @model_validator(mode="after")
    def _control_is_large_enough(self) -> Self:
        if self.control == "off":
            return self
        top = 1.0 if self.comparison == "within_brief" else 0.95
        if not MIN_CONTROL_SHARE <= self.control <= top:
            raise ValueError(
                f"control: {self.control} is outside {MIN_CONTROL_SHARE} to {top} for comparison: {self.comparison}. "
                "A smaller control arm cannot show whether the flywheel compounds. "
                "Write control: off to go without that proof."
            )
        return self


class RateMetric(_Section):
    """Successes per trial."""

    kind: Literal["rate"] = Field(description="rate: successes out of exposure.")
    successes: str = Field(pattern=NAME_PATTERN, description="Measure that counts the successes, e.g. clicks.")
    exposure: str = Field(pattern=NAME_PATTERN, description="Measure that counts the trials, e.g. impressions.")
    better: Literal["higher", "lower"] = Field(default="higher", description="Which direction is good.")

    @model_validator(mode="after")
    def _measures_differ(self) -> Self:
        if self.successes == self.exposure:
            raise ValueError(f"successes and exposure are both {self.exposure!r}; a rate needs two measures")
        return self


class FloorSpec(_Section):
    """The quality floor: what an output must beat before it may become a reference."""

    metric: str = Field(description="One of the flywheel's metrics.")
    above: float | Literal["control", "mean", "quantile"] = Field(
        default="control",
        description="control: the control arm (of the same brief where it was measured); mean: the mean of past "
        "cycles; quantile: the quantile of past cycles; or a number.",
    )
    quantile: Share | None = Field(default=None, description="Which quantile of past outputs, for above: quantile.")
    min_exposure: float = Field(ge=1, description="Trials an output needs before it is judged.")
    confidence: float = Field(
        default=0.9, gt=0.5, lt=1, description="Probability of beating the floor that promotion needs."
    )

    @model_validator(mode="after")
    def _quantile_goes_with_above(self) -> Self:
        if (self.above == "quantile") != (self.quantile is not None):
            raise ValueError("quantile and above: quantile go together: write both or neither")
        return self


class CorpusSpec(_Section):
    """Which proven winners the next prompt shows."""

    size: int = Field(default=24, ge=1, le=1000, description="References in all.")
    per_segment: int = Field(default=6, ge=1, description="References per segment.")
    near_duplicate: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Text similarity from which two outputs count as one family; the best stays.",
    )
    lookback: int = Field(default=52, ge=1, le=1040, description="Cycles whose promoted outputs may be references.")


class PromptSpec(_Section):
    """How the prompt is made."""

    template: str | None = Field(
        default=None, description="Template file, relative to the YAML; none = the built-in one."
    )
    refresh: Literal["references"] = Field(
        default="references", description="references: winners are shown as examples."
    )


class ScoringModelSpec(_Section):
    """The model that predicts from text which output wins."""

    window: int = Field(
        default=104, ge=1, le=1040, description="Cycles it learns from, so that a close never costs more."
    )


class FlywheelSpec(_Section):
    """One flywheel: one kind of output, its metrics, its threshold, its prompt."""

    name: str = Field(pattern=NAME_PATTERN, description="Name, also the group and asset key prefix in Dagster.")
    description: str = Field(default="", description="What this flywheel is for, shown in the Dagster UI.")
    cadence: Cadence = Field(default=Cadence.WEEKLY, description="daily, weekly or monthly.")
    start: date = Field(
        ge=date(1970, 1, 1), lt=date(2200, 1, 1), description="First day of the first cycle, a Monday for weekly."
    )
    owners: list[Annotated[str, Field(pattern=OWNER_PATTERN)]] = Field(
        default_factory=list, description="team:<name> or an e-mail address."
    )
    is_synthetic: bool = Field(
        default=False, description="Declared true when what it runs on is synthetic or simulated."
    )
    briefs: BriefsSpec = Field(
        default_factory=lambda: BriefsSpec(feed="archive"), description="Where briefs come from."
    )
    producer: ArchiveProducer = Field(description="Who produces outputs.")
    arms: ArmsSpec = Field(default_factory=ArmsSpec, description="Shares of the arms.")
    metrics: dict[Annotated[str, Field(pattern=NAME_PATTERN)], RateMetric] = Field(
        min_length=1, description="Metrics by name."
    )
    measurement_window: int = Field(default=1, ge=1, le=52, description="Cycles until feedback counts as mature.")
    floor: FloorSpec = Field(description="The quality floor.")
    corpus: CorpusSpec = Field(default_factory=CorpusSpec, description="The reference corpus.")
    prompt: PromptSpec = Field(default_factory=PromptSpec, description="The prompt.")
    scoring_model: ScoringModelSpec = Field(default_factory=ScoringModelSpec, description="The scoring model.")

    @model_validator(mode="wrap")
    @classmethod
    def _say_what_is_allowed(cls, data: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        """Unknown keys are refused with the keys there are, also where Dagster and not `load_spec` shows the error."""
        try:
            return check(data)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [_detail(found) for found in error.errors()]
            ) from None

    @model_validator(mode="after")
    def _start_begins_a_cycle(self) -> Self:
        first = cycle_of(self.start, self.cadence)
        if first != self.start:
            later = shift_cycle(first, self.cadence, 1)
            raise ValueError(
                f"start: {self.start} ({self.start:%A}) does not begin a {self.cadence} cycle; "
                f"allowed here: {first} or {later}"
            )
        return self

    @model_validator(mode="after")
    def _floor_names_a_metric(self) -> Self:
        if self.floor.metric not in self.metrics:
            raise ValueError(
                f"floor.metric: {self.floor.metric!r} is not one of the metrics: {', '.join(self.metrics)}"
            )
        return self

    @model_validator(mode="after")
    def _archive_publishes_what_arms_compare(self) -> Self:
        whole_control = self.arms.comparison == "within_brief" and self.arms.control == 1.0
        if self.producer.publish == "all" and not whole_control:
            raise ValueError(
                "producer.publish: all sends every candidate of every brief out, so each brief is its own control; "
                "write arms: {control: 1.0, comparison: within_brief}, or producer.publish: choice"
            )
        return self

    @model_validator(mode="after")
    def _floor_can_be_computed(self) -> Self:
        if self.floor.above == "control" and self.arms.control == "off":
            raise ValueError(
                "floor.above: control needs a control arm, but arms.control is off; "
                "write floor.above: mean, or a number"
            )
        return self

    @property
    def metric(self) -> RateMetric:
        """The metric that the floor and the lift are about."""
        return self.metrics[self.floor.metric]

    @property
    def config_hash(self) -> str:
        """Hash of every setting, defaults included (16 hex digits)."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def load_spec(path: Path | str) -> FlywheelSpec:
    """Read one flywheel's YAML.

    Raises:
        SpecError: naming the file, the key, the value found and what is allowed.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file. Make one with: flywheel init NAME") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(document, dict) or document.get("type") != COMPONENT_TYPE:
        found = document.get("type") if isinstance(document, dict) else type(document).__name__
        raise SpecError(f"{path}: key type: found {found!r}, expected {COMPONENT_TYPE}.")
    return parse_spec(document.get("attributes") or {}, path)


def parse_spec(attributes: dict[str, Any], source: Path | str) -> FlywheelSpec:
    """Check attributes that came from `source`; raises SpecError with every problem found, one per line."""
    try:
        return FlywheelSpec.model_validate(attributes)
    except ValidationError as error:
        lines = [_explain(problem) for problem in _one_per_key(error.errors())]
        raise SpecError(f"{source}: refused.\n" + "\n".join(f"  - {line}" for line in lines)) from error


def _one_per_key(problems: Iterable[Any]) -> list[dict[str, Any]]:
    """A value that fits no branch of a union is one problem, not one per branch."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for problem in problems:
        key = tuple(part for part in map(str, problem["loc"]) if not _is_union_branch(part))
        known = found.get(key)
        if known is None:
            found[key] = dict(problem)
        else:
            known["msg"] = f"{known['msg']}, or: {problem['msg']}"
    return list(found.values())


def _explain(problem: dict[str, Any]) -> str:
    """One pydantic problem as: key, what was found, what is allowed."""
    location = [str(part) for part in problem["loc"] if not _is_union_branch(str(part))]
    key = ".".join(location) or "the whole file"
    message = problem["msg"].removeprefix("Value error, ")
    if message.startswith(UNKNOWN):
        return f"key {key}: {message}"
    if problem["type"] == "missing":
        return f"key {key}: missing. {_description(location)}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return message if not location else f"key {key}: {message.rstrip('.')}."
    return f"key {key}: found {problem['input']!r}. {message}. {_description(location)}".rstrip()


def _detail(problem: ErrorDetails) -> InitErrorDetails:
    """A problem as it was found, but an unknown key with the keys that are allowed.

    Of the types that pydantic has built in, since Dagster builds the error once more when it adds file and line.
    """
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        location = [str(part) for part in problem["loc"]]
        allowed = _allowed_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        kind, context = "value_error", {"error": ValueError(f"{UNKNOWN}.{hint} Allowed here: {', '.join(allowed)}.")}
    return InitErrorDetails(type=kind, loc=problem["loc"], input=problem["input"], ctx=context)


def _is_union_branch(part: str) -> bool:
    # pydantic adds the branch of a union to the location: ('floor', 'above', 'float').
    return part in {"float", "int", "str"} or part.startswith(("literal[", "function-"))


def _model_at(location: list[str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = FlywheelSpec
    for part in location:
        if model is None:
            return None
        field = model.model_fields.get(part)
        # A part that is no field is a key of a mapping, e.g. the name of a metric: stay with its model.
        if field is not None:
            model = _nested_model(field.annotation)
    return model


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in {dict, Annotated, typing.Union, types.UnionType}:
        return next((found for part in typing.get_args(annotation) if (found := _nested_model(part))), None)
    return None


def _allowed_keys(location: list[str]) -> list[str]:
    model = _model_at(location)
    return sorted(model.model_fields) if model else []


def _description(location: list[str]) -> str:
    """What the key is for; an entry of a list or a mapping is described by the key that holds it."""
    for end in range(len(location), 0, -1):
        model = _model_at(location[: end - 1])
        field = model.model_fields.get(location[end - 1]) if model else None
        if field is not None:
            return field.description or ""
    return ""


def explain_keys(model: type[BaseModel] = FlywheelSpec, prefix: str = "") -> list[tuple[str, str, str]]:
    """Every key of the YAML: its dotted name, its default ('required' without one), and what it means."""
    rows = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        nested = _nested_model(field.annotation)
        if nested is not None:
            is_mapping = typing.get_origin(field.annotation) is dict
            rows += explain_keys(nested, f"{key}.<name>." if is_mapping else f"{key}.")
            continue
        default = "required" if field.is_required() else str(field.get_default(call_default_factory=True))
        rows.append((key, default, field.description or ""))
    return rows
