"""The seven-item audit: is this a flywheel, or a treadmill with extra steps?

Here: the questions, the evidence each one needs, the limits, and the verdict. Every answer is computed from counts and
dates that the caller took from the lake, and carries the number that decided it. Not here: reading the lake.
Absence is an answer: what was never counted fails, in words, and nothing crashes on an empty lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import pyarrow as pa

from flywheel_pipelines.lake.tables import AUDIT

Verdict = Literal["flywheel", "treadmill"]

MINIMUM_PASSED = 4
# Shares below 1 leave room for single accidents, not for a habit.
STORED_SHARE = 0.99
TRACKED_SHARE = 0.8
# The longest month: a flywheel with monthly cycles passes.
MONTH_DAYS = 31.0


@dataclass(frozen=True)
class Evidence:
    """The facts the audit rests on, over the window of cycles the caller looked at; the defaults are an empty lake.

    Attributes:
        n_generated: outputs generated.
        n_categorised: those of them that are stored with a text, a segment and a brief, none of them empty.
        n_published_mature: published outputs of cycles whose measurement window has passed.
        n_tracked: those of them that have a value of the floor's metric.
        n_references: entries of the latest reference corpus.
        n_references_proven: those of them that exist as outputs and whose newest judgement is `promote`.
        n_prompt_refreshes: closes that rendered a prompt.
        n_prompt_versions: distinct prompt versions among them.
        longest_refresh_gap_days: longest time between two refreshes in a row (by the cycles they closed), and from the
            last one to the moment of the audit; None without a refresh.
        n_measured: outputs with any feedback from outside.
        feedback_lag_days: from the day of the newest measurement to the moment of the audit; None without feedback.
        threshold_recorded_at: when the first quality floor was registered; None when there is none.
        first_metric_recorded_at: when the first measurement was recorded; None when there is none.
        lift_lower: lower end of the anytime-valid 95% interval of the cumulative lift, so that an audit at every
            close is right with all of them; None when unknown.
        skill_lower: lower end of the 95% interval of the skill with which the scoring model predicted later cycles (any
            scale on which 0 is no skill); None when unknown.
    """

    n_generated: int = 0
    n_categorised: int = 0
    n_published_mature: int = 0
    n_tracked: int = 0
    n_references: int = 0
    n_references_proven: int = 0
    n_prompt_refreshes: int = 0
    n_prompt_versions: int = 0
    longest_refresh_gap_days: float | None = None
    n_measured: int = 0
    feedback_lag_days: float | None = None
    threshold_recorded_at: datetime | None = None
    first_metric_recorded_at: datetime | None = None
    lift_lower: float | None = None
    skill_lower: float | None = None


class Finding(NamedTuple):
    """The answer to one question: passed or not, the number that decided it, and what that number is."""

    question: str
    passed: bool
    number: float | None
    evidence: str


def audit(evidence: Evidence) -> pa.Table:
    """Answer the seven questions.

    Returns:
        AUDIT without partition columns: seven rows, in order.
    """
    rows = [{"item": item, **finding._asdict()} for item, finding in enumerate(_findings(evidence), start=1)]
    return AUDIT.conform(pa.Table.from_pylist(rows, schema=AUDIT.schema))


def verdict(table: pa.Table) -> Verdict:
    """'treadmill' when fewer than MINIMUM_PASSED of the seven items passed, else 'flywheel'."""
    return "flywheel" if _n_passed(table) >= MINIMUM_PASSED else "treadmill"


def verdict_words(table: pa.Table) -> str:
    """The verdict for a person: how many passed, and what to look at first."""
    rows = table.sort_by("item").to_pylist()
    failed = [row for row in rows if not row["passed"]]
    text = f"{verdict(table).capitalize()}: {_n_passed(table)} of {len(rows)} passed"
    if not failed:
        return f"{text}."
    return f"{text}. Missing: " + "; ".join(f"{row['item']} {row['evidence']}" for row in failed) + "."


def _n_passed(table: pa.Table) -> int:
    return sum(table["passed"].to_pylist())


def _findings(facts: Evidence) -> Iterator[Finding]:
    yield _share(
        "Are outputs stored and categorised?",
        (facts.n_categorised, facts.n_generated),
        STORED_SHARE,
        "generated outputs have a text, a segment and a brief",
        "no outputs were generated yet",
    )
    yield _share(
        "Is their performance tracked?",
        (facts.n_tracked, facts.n_published_mature),
        TRACKED_SHARE,
        "published outputs past their measurement window have a measured value",
        "no published output is past its measurement window yet",
    )
    yield _share(
        "Are proven winners available as references?",
        (facts.n_references_proven, facts.n_references),
        1.0,
        "references exist as outputs whose newest judgement is promote",
        "the reference corpus is empty",
    )
    yield _prompts_updated(facts)
    yield _feedback_flows(facts)
    yield _threshold_first(facts)
    yield _layers_help(facts)


def _share(question: str, counts: tuple[int, int], limit: float, what: str, nothing: str) -> Finding:
    part, whole = counts
    if not whole:
        return Finding(question, False, None, nothing)
    share = part / whole
    needed = "all" if limit == 1 else f"{limit:.0%}"
    return Finding(question, share >= limit, share, f"{part:,} of {whole:,} {what} ({needed} needed)")


def _prompts_updated(facts: Evidence) -> Finding:
    question = "Are prompts updated at least monthly?"
    gap = facts.longest_refresh_gap_days
    if gap is None or not facts.n_prompt_refreshes:
        return Finding(question, False, None, "no prompt was rendered yet")
    # Rendering the same text for ever is what a treadmill does, however often it is done.
    passed = gap <= MONTH_DAYS and facts.n_prompt_versions >= 2
    words = (
        f"longest gap of {gap:.0f} days between {facts.n_prompt_refreshes:,} refreshes with "
        f"{facts.n_prompt_versions:,} distinct versions (at most {MONTH_DAYS:.0f} days and at least 2 versions needed)"
    )
    return Finding(question, passed, gap, words)


def _feedback_flows(facts: Evidence) -> Finding:
    question = "Does end-user feedback flow back?"
    lag = facts.feedback_lag_days
    if lag is None or not facts.n_measured:
        return Finding(question, False, None, "no output has any feedback yet")
    words = (
        f"{facts.n_measured:,} outputs measured, the newest measurement {lag:.0f} days old (at most {MONTH_DAYS:.0f})"
    )
    return Finding(question, lag <= MONTH_DAYS, lag, words)


def _threshold_first(facts: Evidence) -> Finding:
    question = "Was the threshold defined before the first capture?"
    threshold, metric = facts.threshold_recorded_at, facts.first_metric_recorded_at
    if threshold is None:
        return Finding(question, False, None, "no quality floor was registered")
    if metric is None:
        return Finding(question, False, None, "a quality floor is registered, but nothing was measured yet")
    hours = (metric - threshold).total_seconds() / 3600
    side = "before" if hours > 0 else "after"
    return Finding(question, hours > 0, hours, f"registered {abs(hours):.1f} hours {side} the first measurement")


def _layers_help(facts: Evidence) -> Finding:
    question = "Does one layer's data improve another?"
    lift, skill = facts.lift_lower, facts.skill_lower
    if lift is None and skill is None:
        return Finding(question, False, None, "neither lift nor out-of-time skill has an interval yet")
    if lift is not None and (lift > 0 or skill is None or skill <= 0):
        words = (
            f"what was learned moved production by at least {100 * lift:+.1f}% "
            "(95% interval that holds at all looks; above 0 needed)"
        )
        return Finding(question, lift > 0, lift, words)
    assert skill is not None
    words = f"predictions of later cycles have a skill of at least {skill:.3f} (95% interval; above 0 needed)"
    return Finding(question, skill > 0, skill, words)
