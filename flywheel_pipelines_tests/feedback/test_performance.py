"""The latest-known view of the ledger: latest wins, as known at a cutoff, mature or not, only what was published."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.feedback.performance import performance_view
from flywheel_pipelines.lake.tables import METRIC_LEDGER, METRIC_REPLACEMENTS, PERFORMANCE_METRICS, PUBLISHED_OUTPUTS
from flywheel_pipelines.spec import RateMetric

MONDAY = date(2026, 1, 5)
CLOSE = datetime(2026, 1, 12, tzinfo=UTC)
METRICS = {"ctr": RateMetric(kind="rate", successes="clicks", exposure="views")}


def fact(output: str, measure: str, value: float, *, day: int = 0, hour: int = 0, batch: str = "b1", row: int = 1):
    """A row of the ledger, recorded `hour` hours after the close."""
    return {
        "output_id": output,
        "measure": measure,
        "measured_on": MONDAY + timedelta(days=day),
        "value": float(value),
        "batch_id": batch,
        "recorded_at": CLOSE + timedelta(hours=hour),
        "source_row": row,
    }


def view(
    *facts: dict,
    outputs: tuple[str, ...] = ("a", "b"),
    cutoff: datetime | None = None,
    latest_batch: datetime | None = CLOSE,
    metrics: dict[str, RateMetric] = METRICS,
    replaced: tuple[dict, ...] = (),
) -> list[dict]:
    published = pa.table({"output_id": list(outputs)}, schema=pa.schema([PUBLISHED_OUTPUTS.schema.field("output_id")]))
    found = performance_view(
        pa.Table.from_pylist(list(facts), schema=METRIC_LEDGER.schema),
        pa.Table.from_pylist(list(replaced), schema=METRIC_REPLACEMENTS.schema),
        published,
        metrics,
        knowledge_cutoff=cutoff,
        matures_at=CLOSE,
        latest_batch=latest_batch,
    )
    return PERFORMANCE_METRICS.conform(found).to_pylist()


def figures(rows: list[dict]) -> dict[str, tuple[float, float, float | None]]:
    return {row["output_id"]: (row["numerator"], row["exposure"], row["value"]) for row in rows}


def test_days_add_up_and_the_value_is_successes_by_exposure() -> None:
    rows = view(
        fact("a", "clicks", 3), fact("a", "views", 100), fact("a", "clicks", 1, day=1), fact("a", "views", 60, day=1)
    )
    assert figures(rows) == {"a": (4.0, 160.0, 0.025)}


def test_the_latest_recorded_value_of_a_day_wins() -> None:
    rows = view(fact("a", "views", 100), fact("a", "clicks", 9), fact("a", "clicks", 2, hour=5, batch="b2"))
    assert figures(rows)["a"] == (2.0, 100.0, 0.02)


def test_a_correction_of_one_day_leaves_the_others() -> None:
    rows = view(
        fact("a", "views", 100), fact("a", "views", 50, day=1), fact("a", "views", 70, hour=1, batch="b2"),
    )  # fmt: skip
    assert figures(rows)["a"][1] == 120.0


def test_of_two_values_recorded_at_once_the_choice_does_not_depend_on_their_order() -> None:
    one, two = fact("a", "views", 10, batch="b1"), fact("a", "views", 20, batch="b2")
    assert view(one, two) == view(two, one)
    assert figures(view(one, two))["a"][1] == 20.0


def test_a_cutoff_shows_what_was_known_then() -> None:
    facts = (fact("a", "views", 100), fact("a", "clicks", 9), fact("a", "clicks", 2, hour=5, batch="b2"))
    before, after = (view(*facts, cutoff=CLOSE + timedelta(hours=hours)) for hours in (4, 5))
    assert figures(before)["a"][0] == 9.0
    assert figures(after)["a"][0] == 2.0
    assert (before[0]["known_at"], after[0]["known_at"]) == (CLOSE, CLOSE + timedelta(hours=5))


def test_a_cutoff_before_everything_shows_nothing() -> None:
    assert view(fact("a", "views", 100), cutoff=CLOSE - timedelta(seconds=1)) == []


@pytest.mark.parametrize(("seconds", "mature"), [(-1, False), (0, True)])
def test_the_newest_batch_decides_maturity_and_neither_the_clock_nor_the_cutoff(seconds: int, mature: bool) -> None:
    newest = CLOSE + timedelta(seconds=seconds)
    for cutoff in (None, CLOSE + timedelta(days=90)):
        assert view(fact("a", "views", 1), latest_batch=newest, cutoff=cutoff)[0]["is_mature"] is mature


def test_before_any_batch_nothing_is_mature() -> None:
    assert view(fact("a", "views", 1), latest_batch=None)[0]["is_mature"] is False


def test_measurements_of_what_was_never_published_are_not_counted() -> None:
    assert figures(view(fact("a", "views", 10), fact("stranger", "views", 10))).keys() == {"a"}


def test_control_the_same_measurement_counts_once_it_is_published() -> None:
    rows = view(fact("stranger", "views", 10), outputs=("stranger",))
    assert figures(rows).keys() == {"stranger"}


def test_other_measures_are_not_counted() -> None:
    assert figures(view(fact("a", "views", 10), fact("a", "shares", 7))) == {"a": (0.0, 10.0, 0.0)}


def test_exposure_without_success_is_a_zero() -> None:
    assert figures(view(fact("a", "views", 10))) == {"a": (0.0, 10.0, 0.0)}


def test_an_exposure_of_zero_has_no_value() -> None:
    assert figures(view(fact("a", "views", 0), fact("a", "clicks", 0))) == {"a": (0.0, 0.0, None)}


def test_successes_without_exposure_are_no_measurement_yet() -> None:
    assert view(fact("a", "clicks", 5)) == []


def test_every_metric_has_its_rows() -> None:
    metrics = {**METRICS, "share_rate": RateMetric(kind="rate", successes="shares", exposure="views")}
    rows = view(fact("a", "views", 10), fact("a", "shares", 5), fact("a", "clicks", 1), metrics=metrics)
    assert {row["metric"]: row["value"] for row in rows} == {"ctr": 0.1, "share_rate": 0.5}


def test_an_output_in_two_arms_is_counted_once() -> None:
    assert figures(view(fact("a", "views", 10), fact("a", "clicks", 1), outputs=("a", "a"))) == {"a": (1.0, 10.0, 0.1)}


# -- exports that replace a range of days ----------------------------------------------------------------------------
def replacement(hour: int, *, batch: str = "b2", feed: str = "mailer", first: int = 0, last: int = 0) -> dict:
    """Days `first` to `last` of a feed are replaced, recorded `hour` hours after the close."""
    days = {"first_day": MONDAY + timedelta(days=first), "last_day": MONDAY + timedelta(days=last)}
    return {"feed": feed, **days, "batch_id": batch, "recorded_at": CLOSE + timedelta(hours=hour), "source_row": 1}


def of_feed(row: dict, feed: str = "mailer") -> dict:
    return {**row, "feed": feed}


def test_what_a_replacing_export_leaves_out_is_gone() -> None:
    first = [of_feed(fact(output, "views", 100)) for output in "ab"]
    again = of_feed(fact("a", "views", 90, hour=1, batch="b2"))
    assert figures(view(*first, again, replaced=(replacement(1),))) == {"a": (0.0, 90.0, 0.0)}


def test_control_without_the_replacement_it_stays() -> None:
    first = [of_feed(fact(output, "views", 100)) for output in "ab"]
    again = of_feed(fact("a", "views", 90, hour=1, batch="b2"))
    assert figures(view(*first, again)).keys() == {"a", "b"}


@pytest.mark.parametrize(
    "kept",
    [
        of_feed(fact("a", "views", 7), feed="another"),
        fact("a", "views", 7),
        of_feed(fact("a", "views", 7, day=1)),
        of_feed(fact("a", "views", 7, hour=2, batch="b0")),
        of_feed(fact("a", "views", 7, hour=1, batch="b3")),
    ],
    ids=["another feed", "an archive", "another day", "recorded later", "recorded at once, later by its batch"],
)
def test_a_replacement_hides_only_what_its_feed_said_of_its_days_before(kept: dict) -> None:
    assert figures(view(kept, replaced=(replacement(1),))) == {"a": (0.0, 7.0, 0.0)}


def test_before_its_recording_a_replacement_hides_nothing() -> None:
    first, replaced = of_feed(fact("a", "views", 100)), (replacement(1),)
    assert figures(view(first, replaced=replaced, cutoff=CLOSE)) == {"a": (0.0, 100.0, 0.0)}
    assert view(first, replaced=replaced, cutoff=CLOSE + timedelta(hours=1)) == []


def test_an_empty_ledger_gives_the_contracts_columns() -> None:
    assert view() == []


facts = st.builds(
    fact,
    st.sampled_from("abc"),
    st.sampled_from(["clicks", "views"]),
    st.integers(0, 100),
    day=st.integers(0, 2),
    hour=st.integers(0, 3),
    batch=st.sampled_from(["b1", "b2"]),
    row=st.integers(1, 3),
)


@settings(max_examples=40)
@given(st.lists(facts, max_size=30), st.randoms(), st.integers(0, 3))
def test_neither_row_order_nor_later_facts_change_what_was_known(rows: list[dict], shuffler, hour: int) -> None:
    # The ledger's key is unique, so a row is not drawn twice with two values.
    unique = list({(*(str(row[key]) for key in METRIC_LEDGER.key), row["batch_id"]): row for row in rows}.values())
    cutoff = CLOSE + timedelta(hours=hour)
    known = [row for row in unique if row["recorded_at"] <= cutoff]
    shuffled = list(unique)
    shuffler.shuffle(shuffled)
    assert view(*shuffled, cutoff=cutoff) == view(*known, cutoff=cutoff)
