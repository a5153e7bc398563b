"""From tables to the facts of the audit: each fact is counted from the rows it is about, and from no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.momentum.evidence import AuditInputs, gather_evidence
from flywheel_pipelines_tests.lake_samples import rows

WEEKS = [date(2026, 1, 5) + timedelta(weeks=number) for number in range(3)]
CLOSED_AT = datetime(2026, 1, 26, tzinfo=UTC)
HOUR = timedelta(hours=1)


def over(contract: TableContract, records: list[dict], cycles: list[date]) -> pa.Table:
    return rows(contract, records).append_column("cycle", pa.array(cycles, pa.date32()))


INPUTS = AuditInputs(
    generated=rows(tables.GENERATED_OUTPUTS, [{"text": "t", "segment": "s", "brief_id": "b"}] * 4),
    published=over(tables.PUBLISHED_OUTPUTS, [{"output_id": f"o{n}", "arm": "control"} for n in range(3)], WEEKS),
    performance=over(
        tables.PERFORMANCE_METRICS,
        [
            {"output_id": f"o{n}", "metric": "ctr", "value": 0.1, "known_at": CLOSED_AT - 24 * HOUR * (3 - n)}
            for n in range(3)
        ],
        WEEKS,
    ),
    scored=rows(
        tables.SCORED_OUTPUTS, [{"output_id": "o0", "decision": "promote"}, {"output_id": "o1", "decision": "hold"}]
    ),
    corpus=rows(tables.REFERENCE_CORPUS, [{"reference_id": "o0"}]),
    prompts=over(tables.REFRESHED_PROMPT, [{"prompt_version": f"p{n}"} for n in (0, 1, 1)], WEEKS),
    momentum=rows(tables.MOMENTUM, [{"scope": "cycle"}, {"scope": "cumulative", "lower": 0.05, "anytime_lower": 0.02}]),
    thresholds=rows(
        tables.THRESHOLDS, [{"recorded_at": CLOSED_AT - 48 * HOUR}, {"recorded_at": CLOSED_AT - 50 * HOUR}]
    ),
    first_measurements=rows(
        tables.METRIC_LEDGER, [{"recorded_at": CLOSED_AT - 20 * HOUR}, {"recorded_at": CLOSED_AT - 30 * HOUR}]
    ),
)
EMPTY = AuditInputs(
    generated=tables.GENERATED_OUTPUTS.empty(),
    published=over(tables.PUBLISHED_OUTPUTS, [], []),
    performance=over(tables.PERFORMANCE_METRICS, [], []),
    scored=tables.SCORED_OUTPUTS.empty(),
    corpus=tables.REFERENCE_CORPUS.empty(),
    prompts=over(tables.REFRESHED_PROMPT, [], []),
    momentum=tables.MOMENTUM.empty(),
    thresholds=tables.THRESHOLDS.empty(),
    first_measurements=tables.METRIC_LEDGER.empty(),
)


def gather(matured: set[date] | None = None, **changes: pa.Table):
    return gather_evidence(
        replace(INPUTS, **changes),
        metric="ctr",
        closed_at=CLOSED_AT,
        matured=set(WEEKS) if matured is None else matured,
    )


@pytest.mark.parametrize("missing", ["text", "segment", "brief_id"])
def test_an_output_without_text_segment_or_brief_is_not_categorised(missing: str) -> None:
    records = [{"text": "t", "segment": "s", "brief_id": "b"} for _ in range(4)]
    records[2][missing] = ""
    found = gather(generated=rows(tables.GENERATED_OUTPUTS, records))
    assert (found.n_generated, found.n_categorised) == (4, 3)


def test_only_matured_outputs_are_asked_for_a_measurement() -> None:
    found = gather(matured=set(WEEKS[:2]))
    assert (found.n_published_mature, found.n_tracked) == (2, 2)


def test_an_output_without_a_value_is_not_tracked() -> None:
    performance = over(
        tables.PERFORMANCE_METRICS,
        [{"output_id": "o0", "metric": "ctr", "value": None}, {"output_id": "o1", "metric": "other", "value": 1.0}],
        WEEKS[:2],
    )
    found = gather(performance=performance)
    assert (found.n_tracked, found.n_measured) == (0, 0)


def test_an_output_in_two_arms_is_published_once() -> None:
    twice = pa.concat_tables([INPUTS.published, INPUTS.published])
    assert gather(published=twice).n_published_mature == 3


def test_a_reference_is_proven_by_its_newest_judgement_and_by_being_an_output() -> None:
    corpus = rows(tables.REFERENCE_CORPUS, [{"reference_id": name} for name in ("o0", "o1", "stranger")])
    decided = {"o0": "promote", "o1": "hold", "stranger": "promote"}
    records = [{"output_id": output, "decision": decision} for output, decision in decided.items()]
    scored = rows(tables.SCORED_OUTPUTS, records)
    found = gather(corpus=corpus, scored=scored)
    assert (found.n_references, found.n_references_proven) == (3, 1)


def test_refreshes_are_counted_with_their_versions_and_the_longest_gap() -> None:
    found = gather()
    assert (found.n_prompt_refreshes, found.n_prompt_versions, found.longest_refresh_gap_days) == (3, 2, 7.0)


def test_a_missed_refresh_makes_the_gap_longer() -> None:
    prompts = over(tables.REFRESHED_PROMPT, [{"prompt_version": "p0"}, {"prompt_version": "p1"}], [WEEKS[0], WEEKS[2]])
    assert gather(prompts=prompts).longest_refresh_gap_days == 14.0


def test_a_prompt_that_was_not_refreshed_since_counts_up_to_the_close() -> None:
    prompts = over(tables.REFRESHED_PROMPT, [{"prompt_version": "p0"}], [WEEKS[0]])
    assert gather(prompts=prompts).longest_refresh_gap_days == 21.0


def test_the_lag_is_that_of_the_newest_measurement() -> None:
    assert gather().feedback_lag_days == pytest.approx(1.0)


def test_a_measurement_recorded_after_the_close_has_no_lag() -> None:
    late = over(
        tables.PERFORMANCE_METRICS,
        [{"output_id": "o0", "metric": "ctr", "value": 0.1, "known_at": CLOSED_AT + HOUR}],
        WEEKS[:1],
    )
    assert gather(performance=late).feedback_lag_days == 0.0


def test_the_first_registration_is_compared_with_the_first_measurement() -> None:
    found = gather()
    assert found.threshold_recorded_at == CLOSED_AT - 50 * HOUR
    assert found.first_metric_recorded_at == CLOSED_AT - 30 * HOUR


def test_the_lift_is_the_cumulative_one_that_holds_at_all_looks() -> None:
    assert gather().lift_lower == 0.02


def test_an_empty_lake_gives_zeros_and_absences() -> None:
    found = gather_evidence(EMPTY, metric="ctr", closed_at=CLOSED_AT, matured=set())
    assert (found.n_generated, found.n_tracked, found.n_references, found.n_prompt_refreshes) == (0, 0, 0, 0)
    absent = (found.feedback_lag_days, found.threshold_recorded_at, found.lift_lower, found.longest_refresh_gap_days)
    assert absent == (None, None, None, None)
