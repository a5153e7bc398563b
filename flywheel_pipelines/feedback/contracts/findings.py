"""What a contract finds in the lake for some cycles, and in which words.

Here: reading, validating and counting put together, and the verdict. Not here: the single parts (`evidence`, `history`,
`suite`, `quarantined`), or showing it (`components`, `report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import pandas as pd

from flywheel_pipelines.feedback.contracts.evidence import batches_of_feed, read_facts
from flywheel_pipelines.feedback.contracts.feed_contract import FeedContract
from flywheel_pipelines.feedback.contracts.history import read_history
from flywheel_pipelines.feedback.contracts.quarantined import FileShare, file_shares
from flywheel_pipelines.feedback.contracts.suite import RuleResult, validate
from flywheel_pipelines.lake.store import Lake

Verdict = Literal["passed", "warned", "blocked", "nothing yet"]
_COMPUTED = ("n_rows", "usual_rows", "cycles_silent", "volume_deviation", "schema_problems")
"""Columns that stand in no table, so that their names are words and nothing to look up."""


@dataclass(frozen=True)
class Findings:
    """What one feed's contract found.

    Attributes:
        contract: the contract.
        cycles: those that are closed, in order.
        n_facts: facts about them.
        rules: a result per rule; empty before the feed's first file.
        files: the files that touch the cycles, with their shares in quarantine.
    """

    contract: FeedContract
    cycles: tuple[date, ...]
    n_facts: int
    rules: tuple[RuleResult, ...]
    files: tuple[FileShare, ...]

    @property
    def too_much_quarantined(self) -> tuple[FileShare, ...]:
        """Files with more rows in quarantine than the feed allows."""
        return tuple(file for file in self.files if file.is_too_much)

    @property
    def verdict(self) -> Verdict:
        """blocked: the cycles do not close. warned: they do, and a person should look."""
        if any(result.blocks for result in self.rules) or self.too_much_quarantined:
            return "blocked"
        if any(not result.passed for result in self.rules):
            return "warned"
        return "passed" if self.rules or self.files else "nothing yet"

    @property
    def worst_file(self) -> FileShare | None:
        """The file with the largest share in quarantine."""
        return max(self.files, key=lambda file: file.share, default=None)

    @property
    def words(self) -> str:
        """What was found, what was expected and what to do, in sentences."""
        feed, about = self.contract.feed, _cycles(self.cycles)
        if self.verdict == "nothing yet":
            return f"No file of feed {feed} has come in yet, so there is nothing to hold against its contract."
        if self.verdict == "passed":
            return f"{self.n_facts:,} facts of feed {feed} about {about} keep its contract."
        broken = [result for result in self.rules if not result.passed]
        # What to do is often the same for several rules: said once, behind the last of them.
        last = {result.rule.advice: result for result in broken}
        parts = [_rule_words(result, advise=last[result.rule.advice] is result) for result in broken]
        parts += [file_words(file, self.contract) for file in self.too_much_quarantined]
        return "\n".join([f"Feed {feed}, {about}: {self.summary}.", *parts])

    @property
    def summary(self) -> str:
        """How many rules are broken, and how many files have too much in quarantine."""
        blocking = sum(result.blocks for result in self.rules)
        warning = sum(not result.passed for result in self.rules) - blocking
        counts = [
            (blocking, "broken rule blocks", "broken rules block"),
            (warning, "broken rule warns", "broken rules warn"),
            (len(self.too_much_quarantined), "file has too much in quarantine", "files have too much in quarantine"),
        ]
        said = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
        return ", ".join(said) or f"all {len(self.rules)} rules are kept"


def check_feed(
    lake: Lake,
    contract: FeedContract,
    cycles: Sequence[date],
    *,
    mature_after: int,
    knowledge_cutoff: datetime | None = None,
) -> Findings:
    """Hold what the lake has of a feed about some cycles against its contract.

    Args:
        lake: where from.
        contract: the feed's contract.
        cycles: those that are closed, in order.
        mature_after: cycles published later, from which on a cycle has had its measurement window.
        knowledge_cutoff: what was recorded later does not count; None: everything does.
    """
    batches = batches_of_feed(lake, contract, knowledge_cutoff)
    if not batches.num_rows:
        return Findings(contract, tuple(cycles), 0, (), ())
    history = read_history(lake, contract, cycles, batches, mature_after)
    readable = [cycle for cycle in cycles if cycle not in history.unreadable]
    facts = read_facts(lake, contract, readable, batches, history.sizes)
    frames = {"cycles": history.rows, "facts": facts.rows}
    n_rows = {"cycles": len(history.rows), "facts": facts.n_facts}
    results = validate(contract, frames, n_rows, is_cut=facts.is_cut)
    sources = dict(zip(batches["batch_id"].to_pylist(), batches["source"].to_pylist(), strict=True))
    return Findings(
        contract=contract,
        cycles=tuple(cycles),
        n_facts=facts.n_facts,
        rules=tuple(_with_sources(result, sources) for result in results),
        files=tuple(file_shares(lake, contract, cycles, batches, knowledge_cutoff)),
    )


def sample_words(result: RuleResult) -> list[str]:
    """The sample rows of a broken rule, each in one line: where it stands, and what stands there."""
    return [_sample(result, row) for row in result.samples]


def file_sample_words(file: FileShare) -> list[str]:
    """The sample rows of a file in quarantine, each in one line."""
    return [f"row {row['source_row']}, {row['field']}: found {row['found']!r}. {row['reason']}" for row in file.samples]


def _with_sources(result: RuleResult, sources: Mapping[str, str]) -> RuleResult:
    samples = tuple(
        row | {"source": sources.get(row["batch_id"])} if "batch_id" in row else row for row in result.samples
    )
    return RuleResult(result.rule, result.n_checked, result.n_failed, result.at_least, samples)


def _rule_words(result: RuleResult, *, advise: bool) -> str:
    shown = "; ".join(sample_words(result))
    found = (
        f"Rule {result.rule.name}: expected that {result.rule.expected}; found {many(result)} otherwise, e.g. {shown}."
    )
    return f"{found} {result.rule.advice}" if advise else found


def many(result: RuleResult) -> str:
    """How many break a rule, e.g. 3 of 10 facts."""
    at_least = "at least " if result.at_least else ""
    if result.rule.kind == "rate":
        # Held against each output once; how many outputs there are is not counted.
        return f"{at_least}{result.n_failed:,} output{'s' if result.n_failed > 1 else ''}"
    what = "cycles" if result.rule.about == "cycles" else "facts"
    return f"{at_least}{result.n_failed:,} of {result.n_checked:,} {what}"


def _sample(result: RuleResult, row: Mapping[str, Any]) -> str:
    values = ", ".join(
        f"{name.replace('_', ' ') if name in _COMPUTED or name.startswith('known_') else name} {_shown(row.get(name))}"
        for name in result.rule.columns
    )
    return f"{row['source']}, row {row['source_row']}: {values}" if row.get("source") else values


def file_words(file: FileShare, contract: FeedContract) -> str:
    """That a file has too much in quarantine, why, and what a person can do."""
    reasons = ", ".join(f"{n:,} {problem}" for problem, n in file.reasons)
    return (
        f"{file.source}: {file.n_open:,} of {file.n_rows:,} rows ({file.share:.0%}) are in quarantine ({reasons}), and "
        f"the feed allows {file.limit:.0%}. Correct the file and hand it in again under its name; or decide about its "
        f"rows: `flywheel quarantine list --flywheel {contract.flywheel} --feed {contract.feed}` shows them, `release` "
        "and `discard` settle them, and a row that is settled no longer counts; or, when so many are to be expected, "
        f"raise max_quarantined of feeds.{contract.feed} in the flywheel's defs.yaml. Then close the cycle again."
    )


def _cycles(cycles: Sequence[date]) -> str:
    return f"cycle {cycles[0]}" if len(cycles) == 1 else f"cycles {cycles[0]} to {cycles[-1]}"


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "empty"
    if isinstance(value, float):
        return f"{value:,.6g}"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
