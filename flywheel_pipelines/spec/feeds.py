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

FeedKind = Literal["briefs", "metrics", "reviews", "outputs", "tickets", "fixes"]
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


class SessionsSpec(Section):
    """Events that count once per session, however often they come in it."""

    shown: str = Field(
        min_length=1,
        description="The event by which an output was shown, one of `events`. A session in which that happened twice "
        "is one exposure; rows of a session in which it never did are put aside.",
    )
    ignored: Name | None = Field(
        default=None, description="Our measure: the sessions in which it was shown and none of `taken` came."
    )
    taken: list[str] = Field(
        default_factory=list, description="Events that say it was not ignored; none named: every other of `events`."
    )


class DocumentsSpec(Section):
    """Files that are documents, in Markdown, HTML or PDF, and no tables: what is taken of them as a brief."""

    brief: Literal["file", "section"] = Field(
        default="file",
        description="file: a document is a brief. section: each of its sections is, or each page of a PDF.",
    )
    passage: int = Field(
        default=600, ge=100, le=4_000, description="Most characters of a passage; longer paragraphs are cut in several."
    )
    max_tokens: int = Field(
        default=4_000,
        ge=100,
        description="Most tokens (bytes / 4) of a brief's passages; what is longer is put aside with the reason.",
    )


def _kind_may_come_from_the_preset(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


LATER_KEYS = ("sessions", "fields", "documents")
"""Keys of a feed that came after files had been landed; a new one joins them, and is null where it is not used."""


class FeedSpec(Section):
    """One kind of file, or one query, that keeps coming in."""

    # What checks YAML against the schema alone (dg check yaml, editors) sees no more than what the owner wrote.
    model_config = ConfigDict(json_schema_extra=_kind_may_come_from_the_preset)

    kind: FeedKind = Field(
        description="briefs: things to produce. metrics: what was measured. reviews: what people said of drafts. "
        "outputs: which id a platform gave an output. tickets: what customers wrote. fixes: what shipped."
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
    documents: DocumentsSpec | None = Field(
        default=None,
        description="For kind: briefs. The files are documents (Markdown, HTML, PDF) with passages to cite, wanted in "
        "the cycle of the day that `file_date` finds in their name, or else of the day they land.",
    )
    columns: dict[Name, str] = Field(
        default_factory=dict,
        description="Our name: their header. briefs: brief_id, segment, title, date, locale (others are kept as the "
        "brief's own fields). metrics: output_id (or url, external_id), date, event, count, session, and the measures. "
        "reviews: "
        "output_id, decision, final_text, comment, reviewer, date, draft, draft_hash (of review sheets: a review of "
        "another text is put aside). outputs: output_id, external_id. tickets: ticket_id, created_at, text, subject, "
        "segment, channel, status, locale, requester (read to mask the name in the texts, and "
        "forgotten). fixes: fix_id, date, theme, what.",
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
    aggregate: Literal["last", "sum", "count", "sessions"] = Field(
        default="last",
        description="What several rows of one output and day are. last: the lower one corrects. sum: they add up. "
        "count: each is one event, counted by `events`. sessions: so too, but once in each session, on the day on "
        "which it was first shown in it; of several rows of an event with a number in `count`, the lowest.",
    )
    events: dict[str, Name] = Field(
        default_factory=dict,
        description="For aggregate: count or sessions. Their event: our measure, e.g. delivered: sends.",
    )
    sessions: SessionsSpec | None = Field(default=None, description="For aggregate: sessions. What counts as shown.")
    fields: list[str] | None = Field(
        default=None, description="For kind: briefs. Headers that become fields of a brief; none: all without a role."
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
    def _documents_are_files_of_briefs(self) -> Self:
        if self.documents is None:
            return self
        if self.kind != "briefs" or self.path is None:
            raise ValueError("documents: goes with kind: briefs and a path, since a document is a file to write about")
        if self.columns:
            raise ValueError(f"columns: {', '.join(self.columns)}: a document has none; leave columns out")
        return self

    @model_validator(mode="after")
    def _reviews_give_their_own_measures(self) -> Self:
        taken = sorted({*self.columns, *self.event_measures}.intersection(REVIEW_MEASURES))
        if taken and self.kind == "metrics":
            raise ValueError(
                f"columns, events: {', '.join(taken)} cannot come by a feed of kind metrics, since reviews give it; "
                "call the measure something else, or read the reviews by a feed of kind reviews"
            )
        return self

    @model_validator(mode="after")
    def _events_are_counted(self) -> Self:
        if self.counts_events != bool(self.events):
            raise ValueError("events and aggregate: count or sessions go together: write both or neither")
        return self

    @model_validator(mode="after")
    def _sessions_are_shown_something(self) -> Self:
        of_session = self.sessions
        if (self.aggregate == "sessions") != (of_session is not None):
            raise ValueError("sessions and aggregate: sessions go together: write both or neither")
        if of_session is None:
            return self
        named = {"shown": [of_session.shown], "taken": of_session.taken}
        for key, events in named.items():
            if unknown := [event for event in events if event not in self.events]:
                raise ValueError(f"sessions.{key}: {', '.join(unknown)} is none of events: {', '.join(self.events)}")
        if of_session.shown in of_session.taken:
            raise ValueError(f"sessions.taken: {of_session.shown} is what shows it; name what people do then")
        shown_as = self.events[of_session.shown]
        if other := [event for event, of in self.events.items() if of == shown_as and event != of_session.shown]:
            raise ValueError(
                f"events: {', '.join(other)} counts as {shown_as}, too, as {of_session.shown} does, which shows an "
                "output; give it a measure of its own"
            )
        if of_session.ignored in self.events.values():
            raise ValueError(f"sessions.ignored: {of_session.ignored} is counted by an event already; name another")
        return self

    @property
    def counts_events(self) -> bool:
        """Whether a row is an event, and not a number."""
        return self.aggregate in ("count", "sessions")

    @property
    def event_measures(self) -> tuple[str, ...]:
        """What its events are counted as, the ignored among them; in alphabetical order."""
        ignored = {self.sessions.ignored} if self.sessions and self.sessions.ignored else set()
        return tuple(sorted({*self.events.values(), *ignored}))

    @property
    def identity(self) -> str:
        """All its settings as text; keys that came later and are not used leave no trace in it."""
        return self.model_dump_json(exclude={key for key in LATER_KEYS if getattr(self, key) is None})
