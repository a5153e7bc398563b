"""Every rule of every kind of feed, kept and broken, on files of a lake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.contracts import contracts_of, feed_contract
from flywheel_pipelines.feedback.contracts.findings import sample_words
from flywheel_pipelines.feedback.contracts.suite import validate
from flywheel_pipelines.lake import tables
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.spec import load_spec
from flywheel_pipelines_tests.feedback.contract_lakes import (
    NAME,
    WEEKS,
    ContractLake,
    broken,
    letters,
    measurement,
    output_id,
)
from flywheel_pipelines_tests.lake_samples import rows

WEEK = WEEKS[0]
DAY = WEEK + timedelta(days=1)
REVIEW: dict[str, Any] = {
    "output_id": output_id(WEEK), "reviewer": "r1", "decision": "edited", "final_text": "Dear all",
    "edit_similarity": 0.8, "reviewed_on": DAY,
}  # fmt: skip
BRIEF: dict[str, Any] = {"brief_id": "b1", "segment": "all", "title": "One", "fields": "{}"}
LINK: dict[str, Any] = {"external_id": "x1", "output_id": output_id(WEEK), "output_cycle": WEEK}
TICKET: dict[str, Any] = {
    "ticket_id": "t1", "created_at": datetime(2026, 1, 6, tzinfo=UTC), "segment": "all", "text": "It broke",
}  # fmt: skip
LEDGERS = {
    "mailer": tables.METRIC_LEDGER, "desk": tables.REVIEWS, "leads": tables.BRIEF_LEDGER, "ids": tables.OUTPUT_LINKS,
    "support": tables.TICKETS,
}  # fmt: skip
LATER = DAY + timedelta(days=1)
FINE: dict[str, dict[str, Any]] = {
    "mailer": measurement(output_id(WEEK), "sends", 40.0, LATER), "desk": REVIEW, "leads": BRIEF, "ids": LINK,
    "support": TICKET,
}  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> ContractLake:
    """Three weeks are published, and the mailer said of each of them what it had to."""
    made = ContractLake(tmp_path / "lake").publish(WEEKS[:3])
    for week in WEEKS[:3]:
        made.measure(week)
    return made


def put(lake: ContractLake, feed: str, *facts: dict[str, Any], batch: str = "one", **more: Any) -> None:
    lake.put(feed, LEDGERS[feed], facts, **({"cycle": WEEK, "batch": batch} | more))


# -- which rules a feed has ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("feed", FINE)
def test_facts_as_landing_writes_them_keep_the_contract(lake: ContractLake, feed: str) -> None:
    put(lake, feed, FINE[feed])
    findings = lake.check(feed, WEEK)
    assert broken(findings) == {}
    assert findings.verdict == "passed"
    assert findings.n_facts > 0
    assert [result.rule for result in findings.rules] == list(feed_contract(lake.spec, feed).rules)


def test_a_rate_is_held_against_the_feed_that_may_give_both_its_measures() -> None:
    names = {contract.feed: {rule.name for rule in contract.rules} for contract in contracts_of(letters())}
    assert "reply_rate_within_exposure" in names["mailer"]
    assert "as_is_within_exposure" not in names["mailer"]  # reviews count both, and landing reviews sees to them


def test_a_feed_that_is_not_expected_by_any_time_is_never_overdue() -> None:
    names = {rule.name for rule in feed_contract(letters(expected_within=None), "mailer").rules}
    assert "fresh" not in names
    assert "fresh" in {rule.name for rule in feed_contract(letters(), "mailer").rules}


@pytest.mark.parametrize("name", ["content", "outreach"])
def test_names_of_rules_are_unique_in_their_contract(name: str) -> None:
    for contract in contracts_of(load_spec(DEFS_DIR / name / "defs.yaml")):
        names = [rule.name for rule in contract.rules]
        assert len(names) == len(set(names))


# -- each rule, broken -----------------------------------------------------------------------------------------------
BROKEN: list[tuple[str, dict[str, Any], dict[str, int]]] = [
    ("mailer", {"output_id": None}, {"complete": 1, "known_outputs": 1}),
    ("mailer", {"measure": None}, {"complete": 1}),
    ("mailer", {"measured_on": None}, {"complete": 1}),
    ("mailer", {"value": None}, {"complete": 1}),
    ("mailer", {"value": float("nan")}, {"complete": 1}),
    ("mailer", {"value": -1.0}, {"counts": 1}),
    ("mailer", {"value": 1.5}, {"counts": 1}),
    ("mailer", {"value": float("inf")}, {"counts": 1}),
    ("mailer", {"value": 1e300}, {"counts": 1}),
    ("mailer", {"output_id": "nobody"}, {"known_outputs": 1}),
    ("mailer", {"output_id": output_id(WEEKS[1])}, {"known_outputs": 1}),
    ("desk", {"reviewer": None}, {"complete": 1}),
    ("desk", {"decision": "liked"}, {"decision_is_known": 1}),
    ("desk", {"decision": None}, {"complete": 1}),
    ("desk", {"edit_similarity": 1.2}, {"edit_similarity_is_a_share": 1}),
    ("desk", {"edit_similarity": -0.1}, {"edit_similarity_is_a_share": 1}),
    ("desk", {"edit_similarity": None, "decision": "rejected"}, {}),
    ("desk", {"output_id": "nobody"}, {"known_outputs": 1}),
    ("leads", {"brief_id": None}, {"complete": 1}),
    ("leads", {"locale": None}, {}),
    ("ids", {"external_id": None}, {"complete": 1}),
    ("ids", {"output_id": "nobody"}, {"known_outputs": 1}),
    ("support", {"text": None}, {"complete": 1}),
    ("support", {"created_at": None}, {"complete": 1}),
]


@pytest.mark.parametrize(("feed", "change", "expected"), BROKEN)
def test_a_rule_finds_the_row_that_breaks_it_and_no_other(
    lake: ContractLake, feed: str, change: dict[str, Any], expected: dict[str, int]
) -> None:
    put(lake, feed, FINE[feed], {**FINE[feed], **change, "source_row": 7})
    findings = lake.check(feed, WEEK)
    assert broken(findings) == expected
    assert findings.verdict == ("blocked" if expected else "passed")
    for result in findings.rules:
        if not result.passed:
            assert [row["source_row"] for row in result.samples] == [7]


@pytest.mark.parametrize("feed", FINE)
def test_the_same_fact_twice_of_one_row_is_found(lake: ContractLake, feed: str) -> None:
    put(lake, feed, FINE[feed] | {"source_row": 1}, FINE[feed] | {"source_row": 1})
    assert broken(lake.check(feed, WEEK)) == {"unique": 2}


@pytest.mark.parametrize("feed", ["mailer", "desk", "leads", "support"])
def test_the_same_fact_in_another_file_is_no_repetition(lake: ContractLake, feed: str) -> None:
    put(lake, feed, FINE[feed])
    put(lake, feed, FINE[feed], batch="two")
    assert broken(lake.check(feed, WEEK)) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda schema: schema.remove(schema.get_field_index("value")), "no column value"),
        (lambda schema: schema.set(3, schema.field("value").with_type(pa.string())), "value is string and not double"),
        (lambda schema: schema.append(schema.field("value").with_name("amount")), "unknown column amount"),
    ],
    ids=["missing", "other type", "unknown"],
)
def test_a_file_with_other_columns_is_found_without_reading_its_rows(
    lake: ContractLake, change: Callable[[Any], Any], words: str
) -> None:
    strange = change(tables.METRIC_LEDGER.schema)
    put(lake, "mailer", {"output_id": "x", "source_row": 1}, schema=strange)
    findings = lake.check("mailer", WEEK, WEEKS[1])
    assert broken(findings) == {"schema": 1}
    assert words in findings.words
    assert findings.n_facts == 8  # those of the other week


# -- more successes than trials --------------------------------------------------------------------------------------
def correct(lake: ContractLake, measure: str, value: float, *, day: date = DAY, batch: str = "correction") -> None:
    at = cycle_start(WEEKS[4])
    put(lake, "mailer", measurement(output_id(WEEK), measure, value, day), batch=batch, recorded_at=at)


def test_a_correction_that_leaves_fewer_sends_than_replies_is_found(lake: ContractLake) -> None:
    correct(lake, "sends", 3.0)
    findings = lake.check("mailer", WEEK)
    assert broken(findings) == {"reply_rate_within_exposure": 1}
    result = next(result for result in findings.rules if not result.passed)
    assert "known replies 4, known sends 3" in sample_words(result)[0]


def test_as_many_replies_as_sends_are_possible(lake: ContractLake) -> None:
    correct(lake, "sends", 4.0)
    assert broken(lake.check("mailer", WEEK)) == {}


def test_replies_may_come_on_a_later_day_than_the_sends(lake: ContractLake) -> None:
    correct(lake, "replies", 5.0, day=DAY + timedelta(days=2))
    assert broken(lake.check("mailer", WEEK)) == {}


def test_what_is_known_is_judged_as_of_the_cutoff(lake: ContractLake) -> None:
    correct(lake, "sends", 3.0)
    assert broken(lake.check("mailer", WEEK, cutoff=cycle_start(WEEKS[4]) - timedelta(seconds=1))) == {}
    assert broken(lake.check("mailer", WEEK, cutoff=cycle_start(WEEKS[4]))) == {"reply_rate_within_exposure": 1}


@pytest.mark.parametrize(
    ("first_day", "expected"), [(DAY, {}), (DAY + timedelta(days=1), {"reply_rate_within_exposure": 1})]
)
def test_what_a_later_export_replaced_is_not_known(
    lake: ContractLake, first_day: date, expected: dict[str, int]
) -> None:
    """Replies of another day are replaced by an export that leaves them out, or lie outside its days."""
    correct(lake, "replies", 90.0)
    at = cycle_start(WEEKS[5])
    replaced = {
        "feed": "mailer", "first_day": first_day, "last_day": WEEKS[1], "batch_id": "anew", "recorded_at": at,
        "source_row": 0,
    }  # fmt: skip
    lake.put("mailer", tables.METRIC_REPLACEMENTS, [replaced], cycle=WEEK, batch="anew", recorded_at=at)
    assert broken(lake.check("mailer", WEEK)) == expected


def test_an_output_of_an_attempt_that_was_replaced_is_still_known(lake: ContractLake) -> None:
    """Opening a cycle anew publishes other outputs; what was measured of the earlier ones is no error of the feed."""
    export = {"output_id": "earlier", "arm": "flywheel", "export": 1}
    lake.put("mailer", tables.EXPORTS, [export], cycle=WEEK, batch="export")
    put(lake, "mailer", measurement("earlier", "sends", 4.0, DAY))
    assert broken(lake.check("mailer", WEEK)) == {}


# -- freshness -------------------------------------------------------------------------------------------------------
def test_a_cycle_without_rows_is_overdue_once_the_next_was_opened(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path).publish(WEEKS[:2])
    lake.measure(WEEKS[0])
    assert broken(lake.check("mailer", WEEKS[1])) == {}
    lake.publish(WEEKS[2:3])
    findings = lake.check("mailer", WEEKS[1])
    assert broken(findings) == {"fresh": 1}
    assert findings.verdict == "warned"
    assert str(WEEKS[1]) in findings.words


def test_a_feed_that_may_take_two_cycles_is_given_them(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path, letters(expected_within=2)).publish(WEEKS[:3])
    lake.measure(WEEKS[0])
    assert broken(lake.check("mailer", WEEKS[1])) == {}
    lake.publish(WEEKS[3:4])
    assert broken(lake.check("mailer", WEEKS[1])) == {"fresh": 1}


def test_cycles_before_the_feeds_first_are_not_overdue(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path).publish(WEEKS[:4])
    lake.measure(WEEKS[2])
    lake.measure(WEEKS[3])
    assert broken(lake.check("mailer", *WEEKS[:4])) == {}


def test_a_feed_without_any_file_passes_and_says_so(tmp_path: Path) -> None:
    findings = ContractLake(tmp_path).publish(WEEKS[:4]).check("mailer", WEEKS[3])
    assert (findings.verdict, findings.rules) == ("nothing yet", ())
    assert "No file of feed mailer has come in yet" in findings.words


# -- words -----------------------------------------------------------------------------------------------------------
def test_words_name_the_rule_the_file_the_row_what_was_found_and_what_to_do(lake: ContractLake) -> None:
    put(lake, "mailer", FINE["mailer"], {**FINE["mailer"], "value": 1.5, "source_row": 7}, source="export.csv")
    words = lake.check("mailer", WEEK).words
    for part in ("Rule counts", "`value` is a whole number", "1 of 10 facts", "export.csv, row 7", "value 1.5", "hand"):
        assert part in words


def test_what_to_do_is_said_once_for_all_rules_that_share_it(lake: ContractLake) -> None:
    put(lake, "mailer", {**FINE["mailer"], "value": 1.5, "output_id": "nobody"})
    words = lake.check("mailer", WEEK).words
    assert words.count("Landing a file never writes such a row") == 1


def test_a_frame_that_cannot_be_judged_is_an_error_and_no_pass(lake: ContractLake) -> None:
    contract = feed_contract(lake.spec, "mailer")
    frame = rows(tables.PUBLISHED_OUTPUTS, [{"output_id": "x"}]).to_pandas()
    with pytest.raises(FlywheelError, match=rf"{NAME}.mailer_contract.facts, rule complete"):
        validate(contract, {"facts": frame}, {"facts": 1})
