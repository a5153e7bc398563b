"""The gate: trials, promotions, probation, rollbacks; each a pure step from rows to rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.tables import BRIEF_OUTCOMES, PROMPT_GATE
from flywheel_pipelines.learning.frames import in_play
from flywheel_pipelines.learning.gate import CycleRun, decide
from flywheel_pipelines.learning.gate_plot import gate_plot
from flywheel_pipelines.learning.gate_state import GateRules
from flywheel_pipelines.sequential import Comparison, evidence_against_equal

START = date(2026, 1, 5)
RULES = GateRules("reply_rate")
ROOT, NEW, OTHER = "root", "new", "other"


class History:
    """A flywheel before a world in which frames are worth what `worth` says; it runs what its gate decides."""

    def __init__(self, worth: Mapping[str, float], rules: GateRules = RULES, n: int = 60, seed: int = 1) -> None:
        self.worth, self.rules, self.n = worth, rules, n
        self.random = np.random.default_rng(seed)
        self.rows: list[pa.Table] = []
        self.runs: list[CycleRun] = []

    def close(self, *queue: str, **worth: float) -> dict[str, dict[str, Any]]:
        """One more cycle; returns its rows by role."""
        before = self.rows[-1] if self.rows else None
        playing = in_play(before)
        frames = {"flywheel": playing.champion or ROOT, "control": ROOT}
        if playing.challenger:
            frames["challenger"] = playing.challenger
        values = {arm: self._values({**self.worth, **worth}, arm, frame) for arm, frame in frames.items()}
        run = CycleRun(START + timedelta(weeks=len(self.rows)), frames, outcomes(values))
        self.runs.append(run)
        self.rows.append(decide(before, run, queue, self.rules))
        return by_role(self.rows[-1])

    def _values(self, worth: Mapping[str, float], arm: str, frame: str) -> np.ndarray:
        level = worth.get(arm, worth.get(frame, 1.0))
        return 0.04 * level * np.exp(self.random.normal(0, 0.3, self.n))


def outcomes(values: Mapping[str, np.ndarray]) -> pa.Table:
    """BRIEF_OUTCOMES in which every brief has one arm."""
    lines = [
        {
            "brief_id": f"{arm}-{number}",
            "segment": "all",
            f"{arm}_value": float(value),
            "n_measured": 1,
            "is_counted": arm != "challenger",
        }
        for arm, found in values.items()
        for number, value in enumerate(found)
    ]
    return pa.Table.from_pylist(lines, schema=BRIEF_OUTCOMES.schema)


def by_role(rows: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["role"]: row for row in rows.to_pylist()}


def promoted(**options: Any) -> History:
    """A history in which NEW has just been promoted."""
    history = History({NEW: 1.5}, **options)
    for _ in range(8):
        if history.close(NEW)["champion"]["decision"] == "promote":
            return history
    raise AssertionError("not promoted")


def test_the_first_close_makes_the_yaml_frame_champion_and_puts_the_next_in_the_queue_on_trial():
    rows = History({}).close(ROOT, NEW, OTHER)
    assert rows["champion"]["frame_version"] == ROOT
    assert (rows["challenger"]["frame_version"], rows["challenger"]["decision"]) == (NEW, "start")


def test_without_briefs_for_trials_nothing_goes_on_trial():
    assert "challenger" not in History({}, GateRules("reply_rate", has_trials=False)).close(NEW)


def test_a_better_challenger_is_promoted_and_the_champion_of_before_stays_as_its_predecessor():
    rows = by_role(promoted().rows[-1])
    assert (rows["champion"]["frame_version"], rows["predecessor"]["frame_version"]) == (NEW, ROOT)
    assert rows["champion"]["lower"] > 0
    assert rows["champion"]["evidence"] >= rows["champion"]["needed"]
    assert rows["champion"]["predecessor_version"] == ROOT


def test_an_equal_challenger_is_not_promoted_and_retires_when_its_trial_is_over():
    history = History({}, GateRules("reply_rate", trial=3))
    decisions = [history.close(NEW) for _ in range(4)]
    assert [rows["champion"]["decision"] for rows in decisions] == ["keep"] * 4
    assert decisions[-1]["retired"]["frame_version"] == NEW
    assert "within 3 cycles" in decisions[-1]["retired"]["reason"]


def test_a_worse_challenger_retires_before_its_trial_is_over():
    history = History({NEW: 0.6})
    rows = [history.close(NEW) for _ in range(5)]
    retired = next(found["retired"] for found in rows if "retired" in found)
    assert "proven worse" in retired["reason"]
    assert retired["upper"] < 0


def test_a_frame_is_tried_once():
    history = History({NEW: 0.6})
    for _ in range(6):
        rows = history.close(NEW)
    assert "challenger" not in rows
    assert history.close(NEW, OTHER)["challenger"]["frame_version"] == OTHER


def test_during_probation_no_other_frame_goes_on_trial_and_afterwards_it_does():
    history = promoted(rules=GateRules("reply_rate", probation=2))
    history.worth = {}
    first, second = history.close(OTHER), history.close(OTHER)
    assert "challenger" not in first
    assert second["retired"]["frame_version"] == ROOT
    assert second["challenger"]["frame_version"] == OTHER


def test_a_promotion_that_proves_wrong_is_undone_by_the_predecessor():
    history = promoted()
    for _ in range(4):
        rows = history.close(NEW, new=0.5)
        if rows["champion"]["decision"] == "roll_back":
            break
    assert (rows["champion"]["frame_version"], rows["retired"]["frame_version"]) == (ROOT, NEW)
    assert "predecessor" not in rows
    assert in_play(history.rows[-1]).challenger is None


def test_a_champion_below_control_is_rolled_back_without_a_predecessor_arm():
    history = promoted(rules=GateRules("reply_rate", probation=0))
    for _ in range(8):
        rows = history.close(new=0.5)
        if rows["champion"]["decision"] == "roll_back":
            break
    assert rows["champion"]["frame_version"] == ROOT
    assert "control" in rows["champion"]["reason"]


def test_a_first_champion_below_control_is_rolled_back_to_the_controls_rules():
    history = History({})
    closes = [history.close(control=1.6) for _ in range(8)]
    withheld = next(number for number, rows in enumerate(closes) if rows["champion"]["decision"] == "roll_back")
    assert "references are withheld for 4 cycle(s)" in closes[withheld]["champion"]["reason"]
    assert closes[withheld]["withheld"]["since"] == START + timedelta(weeks=withheld)
    assert closes[withheld]["control"]["n_cycles"] == 0, "without references it is another comparison"


def test_references_are_shown_again_after_a_while_and_compared_anew():
    history = History({}, GateRules("reply_rate", probation=2))
    while "withheld" not in history.close(control=1.6):
        pass
    during, after = history.close(control=1.0), history.close(control=1.0)
    assert during["withheld"]["n_cycles"] == 1
    assert "withheld" not in after
    assert (after["control"]["n_cycles"], during["control"]["n_cycles"]) == (0, 1)


def test_a_control_that_is_better_without_references_too_is_named():
    history = History({}, GateRules("reply_rate", probation=8))
    closes = [history.close(control=1.6) for _ in range(9)]
    assert [rows["champion"]["decision"] for rows in closes].count("roll_back") == 1
    assert "withheld already" in closes[-1]["champion"]["reason"]


def test_control_a_first_champion_above_control_keeps_its_references():
    history = History({})
    assert not any("withheld" in history.close(control=0.8) for _ in range(8))


def test_lower_is_better_turns_the_promotion_round():
    history = History({NEW: 0.6}, GateRules("unsubscribe_rate", better="lower"))
    assert any(history.close(NEW)["champion"]["decision"] == "promote" for _ in range(6))


def test_error_budgets_shrink_with_every_trial_and_come_back_with_a_promotion():
    history = History({NEW: 0.6})
    alphas = [history.close(NEW)["challenger"]["alpha"]]
    while "challenger" in (rows := history.close(NEW, OTHER)) and rows["challenger"]["frame_version"] == NEW:
        pass
    alphas.append(rows["challenger"]["alpha"])
    assert alphas == pytest.approx([0.05 * 6 / np.pi**2, 0.05 * 6 / np.pi**2 / 4])
    assert by_role(promoted().rows[-1])["champion"]["trial_error_returned"] == pytest.approx(alphas[0])


def test_a_cycle_that_ran_other_frames_does_not_count_in_the_comparison():
    history = History({})
    history.close(NEW)
    other = CycleRun(
        START + timedelta(weeks=1), {**history.runs[0].frames, "challenger": OTHER}, history.runs[0].outcomes
    )
    rows = by_role(decide(history.rows[-1], other, [], RULES))
    assert (rows["challenger"]["n_cycles"], rows["challenger"]["n_briefs"]) == (0, 0)


def test_a_comparison_goes_on_where_the_arms_have_changed_places():
    """Closing an early cycle again may take a promotion back that the later cycles ran with."""
    history = History({})
    history.close(NEW)
    swapped = CycleRun(
        START + timedelta(weeks=1),
        {"flywheel": NEW, "challenger": ROOT, "control": ROOT},
        outcomes({"flywheel": np.full(9, 0.08), "challenger": np.full(9, 0.04)}),
    )
    rows = by_role(decide(history.rows[-1], swapped, [], RULES))
    assert rows["challenger"]["estimate"] == pytest.approx(1.0)


def test_another_metric_begins_the_comparisons_anew_and_spends_error_anew():
    history = History({})
    for _ in range(3):
        before = history.close(NEW)
    history.rules = GateRules("open_rate")
    after = history.close(NEW)
    assert (before["challenger"]["n_cycles"], after["challenger"]["n_cycles"]) == (2, 1)
    assert after["challenger"]["alpha"] < before["challenger"]["alpha"]


def test_an_archive_has_no_frames_and_no_rows():
    assert decide(None, CycleRun(START, {}, BRIEF_OUTCOMES.empty()), [], RULES).equals(PROMPT_GATE.empty())


def test_evidence_and_interval_follow_from_the_carried_sums():
    row = by_role(promoted().rows[-1])["champion"]
    assert evidence_against_equal(Comparison.from_carried(row["sums"])) == row["evidence"]


def test_rows_without_a_champion_are_refused():
    history = History({})
    history.close(NEW)
    broken = history.rows[0].filter(pc.field("role") != "champion")
    with pytest.raises(ContractError, match="0 champions"):
        decide(broken, history.runs[0], [], RULES)


def test_the_same_arguments_give_the_same_rows_and_the_same_picture():
    first, second = promoted(), promoted()
    assert first.rows[-1].equals(second.rows[-1])
    pictures = []
    for history in (first, second):
        dated = [
            rows.append_column("cycle", pa.array([run.cycle] * rows.num_rows, pa.date32()))
            for rows, run in zip(history.rows, history.runs, strict=True)
        ]
        pictures.append(gate_plot(pa.concat_tables(dated)))
    assert pictures[0] == pictures[1] is not None
