"""What comes in from outside, and how it is to be read.

Here: the key `feeds`. Not here: reading files (`feedback.files`), or what a row must say (`feedback.feeds`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from flywheel_pipelines.spec.presets import filled_in
from flywheel_pipelines.spec.section import NAME_PATTERN, Name, Section

FeedKind = Literal["briefs", "metrics", "reviews", "outputs", "tickets"]
NumberFormat = Literal["plain", "1,234.5", "1.234,5", "1 234,5"]
UNIX_TIME = "%s"
"""Among `dates`: seconds since 1970, which strptime does not know."""
REVIEW_MEASURES = ("reviews", "accepted_as_is", "edited", "rejected")
"""Measures that reviews give every output, for metrics to count: `{successes: accepted_as_is, exposure: reviews}`."""


def _read_back(day: datetime, written: str) -> datetime:
    # An offset is written only where the instant has one.
    return datetime.strptime(day.replace(tzinfo=UTC).strftime(written), written)


class SqlSource(Section):
    """Rows of a query on any database that SQLAlchemy reaches (extra `sql`)."""

    url_variable: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Environment variable that holds the SQLAlchemy URL; the URL itself stands in no file.",
    )
    query: str = Field(
        min_length=1,
        description="SELECT that gives the rows; :first_day and :last_day are the days that are asked for.",
    )


class DltSource(Section):
    """A table that a dlt pipeline has loaded (extra `dlt`)."""

    pipeline: str = Field(pattern=NAME_PATTERN, description="Name of the dlt pipeline.")
    pipelines_dir: str | None = Field(
        default=None, description="Folder of dlt's pipelines, relative to the data directory; none = dlt's default."
    )
    table: str = Field(min_length=1, description="Table of the pipeline's dataset.")


def _kind_may_come_from_the_preset(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


class FeedSpec(Section):
    """One kind of file, or one query, that keeps coming in."""

    # What checks YAML against the schema alone (dg check yaml, editors) sees no more than what the owner wrote.
    model_config = ConfigDict(json_schema_extra=_kind_may_come_from_the_preset)

    kind: FeedKind = Field(
        description="briefs: things to produce. metrics: what was measured. reviews: what people said of drafts. "
        "outputs: which id a platform gave an output. tickets: what customers wrote."
    )
    preset: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="Export format of a platform that pre-fills the other keys, e.g. search_console; "
        "`flywheel feeds` lists them.",
    )
    path: str | None = Field(
        default=None, min_length=1, description="Pattern of the files, relative to the inbox, e.g. leads/*.csv."
    )
    sql: SqlSource | None = Field(default=None, description="A query instead of files.")
    dlt: DltSource | None = Field(default=None, description="A table that a dlt pipeline has loaded instead of files.")
    columns: dict[Name, str] = Field(
        default_factory=dict,
        description="Our name: their header. briefs: brief_id, segment, title, date, locale (others are kept as the "
        "brief's own fields). metrics: output_id (or url, external_id), date, event, and the measures. reviews: "
        "output_id, decision, final_text, comment, reviewer, date, draft, draft_hash (of review sheets: a review of "
        "another text is put aside). outputs: output_id, external_id. tickets: ticket_id, created_at, text, subject, "
        "segment, channel, status.",
    )
    join: Literal["output_id", "url", "external_id"] = Field(
        default="output_id",
        description="What finds the output of a row. output_id: the tracking tag of the outbox. url: an address with "
        "the tag in `url_parameter`, or one that a feed of kind outputs names. external_id: a campaign, variant or "
        "other id that a feed of kind outputs names.",
    )
    url_parameter: str = Field(
        default="utm_content", min_length=1, description="Parameter of an address that holds the tracking tag."
    )
    dates: list[Annotated[str, Field(min_length=2)]] = Field(
        default_factory=lambda: ["%Y-%m-%d"],
        min_length=1,
        description="How dates are written, in strptime's letters; a cell that two of them read differently is "
        "refused.",
    )
    file_date: str | None = Field(
        default=None,
        description="Regular expression with one group that finds the day (YYYY-MM-DD) in the name of a file without "
        "a date column; with two groups, the first and the last day it is about.",
    )
    numbers: NumberFormat = Field(
        default="plain", description="How numbers are written; plain has no thousands separator. A % divides by 100."
    )
    aggregate: Literal["last", "sum", "count"] = Field(
        default="last",
        description="What several rows of one output and day are. last: the lower one corrects. sum: they add up. "
        "count: each is one event, counted by `events`.",
    )
    events: dict[str, Name] = Field(
        default_factory=dict, description="For aggregate: count. Their event: our measure, e.g. delivered: sends."
    )
    corrections: Literal["upsert", "replace_range"] = Field(
        default="upsert",
        description="What a later export does. upsert: its rows replace those of the same output, day and measure. "
        "replace_range: it replaces everything this feed said about its days; what it leaves out is gone.",
    )
    max_quarantined: float = Field(
        default=0.2, ge=0, le=1, description="Share of a file's rows in quarantine above which its cycles do not close."
    )
    expected_within: int | None = Field(
        default=None, ge=1, description="Cycles after which a cycle without rows of this feed counts as overdue."
    )
    hold_implausible: bool = Field(
        default=True, description="Whether rows far outside an output's history are held for a person to release."
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, keys: Any) -> Any:
        return filled_in(keys) if isinstance(keys, Mapping) else keys

    @field_validator("dates")
    @classmethod
    def _formats_say_a_day(cls, value: list[str]) -> list[str]:
        day = datetime(2026, 3, 25, 17, 30, 15)
        for written in value:
            try:
                is_day = written == UNIX_TIME or _read_back(day, written).date() == day.date()
            except ValueError:
                is_day = False
            if not is_day:
                raise ValueError(
                    f"{written!r} does not say year, month and day; write them in strptime's letters, "
                    "such as %Y-%m-%d, %m/%d/%y, or %s for Unix time in seconds"
                )
        return value

    @field_validator("file_date")
    @classmethod
    def _file_date_is_an_expression(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups not in (1, 2):
            raise ValueError(f"has {groups} groups; expected one for the day, or two for the first and the last day")
        return value

    @model_validator(mode="after")
    def _rows_come_from_somewhere(self) -> Self:
        if sum(source is not None for source in (self.path, self.sql, self.dlt)) != 1:
            raise ValueError("path, sql, dlt: write one of them; path names files in the inbox, the others a source")
        return self

    @model_validator(mode="after")
    def _reviews_give_their_own_measures(self) -> Self:
        taken = sorted({*self.columns, *self.events.values()}.intersection(REVIEW_MEASURES))
        if taken and self.kind == "metrics":
            raise ValueError(
                f"columns, events: {', '.join(taken)} cannot come by a feed of kind metrics, since reviews give it; "
                "call the measure something else, or read the reviews by a feed of kind reviews"
            )
        return self

    @model_validator(mode="after")
    def _events_are_counted(self) -> Self:
        if (self.aggregate == "count") != bool(self.events):
            raise ValueError("events and aggregate: count go together: write both or neither")
        return self
