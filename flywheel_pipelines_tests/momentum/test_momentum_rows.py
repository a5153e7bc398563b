"""The lift of a cycle, the cumulative lift, and the summary of a history."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import MOMENTUM
from flywheel_pipelines.momentum.lift import momentum_rows
from flywheel_pipelines.momentum.summary import bootstrap_lift, summarise
from flywheel_pipelines_tests.momentum.worlds import click_counts, outcomes


def cycles_of_outcomes(lift: float, n_cycles: int = 12, briefs: int = 20, seed: int = 4) -> list[pa.Table]:
    random = np.random.default_rng(seed)
    counts = (click_counts(random, briefs, briefs, briefs, lift) for _ in range(n_cycles))
    return [outcomes(f / 3000, c / 3000, f"cycle{number}") for number, (f, c) in enumerate(counts)]


def history(parts: list[pa.Table]) -> pa.Table:
    start = date(2026, 1, 5)
    dated = [
        part.append_column("cycle", pa.array([start + timedelta(weeks=number)] * part.num_rows, pa.date32()))
        for number, part in enumerate(parts)
    ]
    return pa.concat_tables(dated)


def row(table: pa.Table, scope: str) -> dict:
    return next(found for found in table.to_pylist() if found["scope"] == scope)


def closed(parts: list[pa.Table]) -> pa.Table:
    rows = None
    for part in parts:
        rows = momentum_rows(part, rows, metric="click_rate", better="higher")
    assert rows is not None
    return rows


def test_cumulative_row_equals_one_pass_over_all_briefs():
    parts = cycles_of_outcomes(0.1)
    step_by_step = row(closed(parts), "cumulative")
    at_once = row(momentum_rows(pa.concat_tables(parts), None, metric="click_rate", better="higher"), "cycle")
    for name in ("lift", "lower", "upper", "flywheel_mean", "control_mean", "hit_rate", "chance_rate", "sums"):
        assert step_by_step[name] == pytest.approx(at_once[name], rel=1e-9), name
    assert step_by_step["n_briefs"] == at_once["n_briefs"] == 240


def test_lift_is_summed_choice_over_summed_mean_of_the_arms():
    flywheel, control = np.array([0.02, 0.06]), np.array([0.02, 0.03])
    found = row(momentum_rows(outcomes(flywheel, control), metric="click_rate", better="higher"), "cycle")
    assert found["lift"] == pytest.approx(0.08 / 0.05 - 1)
    # The mean of the ratios would say something else.
    assert found["lift"] != pytest.approx(np.mean(flywheel / control) - 1)


def test_uncounted_briefs_change_nothing_but_counted_ones_do():
    base = cycles_of_outcomes(0.1, n_cycles=1)[0]
    extra = outcomes(np.full(5, 0.9), np.full(5, 0.9), "extra")
    ignored = extra.set_column(extra.schema.get_field_index("is_counted"), "is_counted", pa.array([False] * 5))
    plain, with_ignored, with_counted = (
        momentum_rows(pa.concat_tables(parts), metric="click_rate", better="higher")
        for parts in ([base], [base, ignored.cast(base.schema)], [base, extra])
    )
    assert with_ignored.equals(plain)
    assert not with_counted.equals(plain)


def test_a_cycle_without_feedback_keeps_the_cumulative_row_and_has_no_lift_itself():
    before = closed(cycles_of_outcomes(0.1, n_cycles=3))
    after = momentum_rows(cycles_of_outcomes(0.1)[0].slice(0, 0), before, metric="click_rate", better="higher")
    assert row(after, "cumulative") == row(before, "cumulative")
    assert row(after, "cycle")["lift"] is None
    assert row(after, "cycle")["n_briefs"] == 0


def test_a_change_of_metric_starts_anew():
    before = closed(cycles_of_outcomes(0.1, n_cycles=3))
    after = momentum_rows(cycles_of_outcomes(0.1)[0], before, metric="reply_rate", better="higher")
    assert row(after, "cumulative")["n_briefs"] == row(after, "cycle")["n_briefs"] == 20


def test_rows_keep_the_contract_and_do_not_depend_on_row_order():
    part = cycles_of_outcomes(0.1)[0]
    forward = momentum_rows(part, metric="click_rate", better="higher")
    backward = momentum_rows(part.take(list(range(19, -1, -1))), metric="click_rate", better="higher")
    assert forward.schema.equals(MOMENTUM.schema)
    assert forward.equals(backward)


def test_sums_of_an_older_version_are_refused():
    old = closed(cycles_of_outcomes(0.1, n_cycles=1)).to_pylist()
    stale = pa.Table.from_pylist([{**found, "sums": found["sums"][:7]} for found in old], schema=MOMENTUM.schema)
    with pytest.raises(ContractError, match="close the cycles again"):
        momentum_rows(cycles_of_outcomes(0.1)[0], stale, metric="click_rate", better="higher")


def test_bootstrap_and_formula_agree():
    parts = history(cycles_of_outcomes(0.1, n_cycles=20))
    summary = summarise(parts, better="higher")
    assert summary.interval is not None
    assert summary.bootstrap_interval is not None
    width = summary.interval[1] - summary.interval[0]
    assert summary.bootstrap_interval == pytest.approx(summary.interval, abs=0.12 * width)


def test_bootstrap_depends_on_the_seed_and_on_nothing_else():
    parts = history(cycles_of_outcomes(0.1))
    shuffled = parts.take(np.random.default_rng(0).permutation(parts.num_rows))
    assert bootstrap_lift(parts, seed=1, draws=300) == bootstrap_lift(shuffled, seed=1, draws=300)
    assert bootstrap_lift(parts, seed=1, draws=300) != bootstrap_lift(parts, seed=2, draws=300)


def test_bootstrap_handles_briefs_in_one_arm_only():
    random = np.random.default_rng(8)
    flywheel, control = click_counts(random, 160, 40, 0, 0.1)
    found = bootstrap_lift(outcomes(flywheel, control), seed=1, draws=2000)
    formula = row(momentum_rows(outcomes(flywheel, control), metric="m", better="higher"), "cycle")
    assert found.value == formula["lift"]
    assert [found.lower, found.upper] == pytest.approx([formula["lower"], formula["upper"]], abs=0.05)


def test_halves_and_quarters_split_the_briefs_in_cycle_order():
    control = np.full(20, 0.02)
    gains = [0.0] * 6 + [0.1] * 3 + [0.3] * 3
    parts = [outcomes(control * (1 + gain), control, f"cycle{number}") for number, gain in enumerate(gains)]
    summary = summarise(history(parts), better="higher")
    assert [part.briefs for part in summary.quarters] == [60, 60, 60, 60]
    assert [part.lift for part in summary.quarters] == pytest.approx([0.0, 0.0, 0.1, 0.3], abs=1e-12)
    assert summary.last_half_lift == pytest.approx(0.2)
    assert summary.last_quarter_lift == summary.quarters[-1].lift
    assert (summary.briefs, summary.cycles) == (240, 12)


def test_summary_agrees_with_the_stored_cumulative_row():
    parts = cycles_of_outcomes(0.1)
    stored, summary = row(closed(parts), "cumulative"), summarise(history(parts), better="higher")
    assert [summary.lift, *(summary.interval or ())] == pytest.approx(
        [stored[name] for name in ("lift", "lower", "upper")]
    )


@pytest.mark.parametrize(("lift", "verdict"), [(0.15, "spinning"), (-0.15, "losing"), (0.0, "unproven")])
def test_verdict_of_a_history(lift: float, verdict: str):
    summary = summarise(history(cycles_of_outcomes(lift)), better="higher")
    assert summary.verdict == verdict
    assert summary.is_spinning == (verdict == "spinning")


def test_an_empty_history_is_summarised_without_a_crash_and_fits_json():
    summary = summarise(history(cycles_of_outcomes(0.1)).slice(0, 0), better="higher")
    assert (summary.lift, summary.briefs, summary.verdict) == (None, 0, "unmeasured")
    assert json.loads(json.dumps(summary.as_dict()))["last_quarter_lift"] is None


def test_the_interval_for_all_looks_contains_that_for_one_and_belongs_to_the_cumulative_row():
    rows = closed(cycles_of_outcomes(0.1))
    cumulative, cycle = row(rows, "cumulative"), row(rows, "cycle")
    assert cumulative["anytime_lower"] < cumulative["lower"] < cumulative["upper"] < cumulative["anytime_upper"]
    assert (cycle["anytime_lift"], cycle["anytime_lower"], cycle["strata"]) == (None, None, [])


def test_the_sql_of_the_documents_gives_the_ends_of_the_interval_for_all_looks():
    rows = closed(cycles_of_outcomes(0.1))
    dated = rows.append_column("cycle", pa.array([date(2026, 1, 5)] * rows.num_rows, pa.date32()))
    text = (Path(__file__).resolve().parents[2] / "docs" / "learning" / "momentum.md").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.register("dated", dated)
        connection.execute("create schema lake; create table lake.momentum as from dated")
        found = connection.execute(re.findall(r"```sql\n(.*?)```", text, re.DOTALL)[1]).fetchall()
    stored = row(rows, "cumulative")
    assert found[0][1:] == pytest.approx((stored["anytime_lower"], stored["anytime_upper"]), rel=1e-9)


def test_a_verdict_of_a_history_takes_the_interval_for_all_looks():
    for lift in (0.0, 0.02, 0.04, 0.06, 0.08):
        found = summarise(history(cycles_of_outcomes(lift)), better="higher")
        assert found.interval is not None
        assert found.anytime_interval is not None
        assert found.is_spinning == (found.anytime_interval[0] > 0)
        if found.interval[0] > 0 >= found.anytime_interval[0]:
            return
    raise AssertionError("no history in which the two intervals differ in their verdict")
