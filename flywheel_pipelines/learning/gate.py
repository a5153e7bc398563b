"""The gate: which frame of the prompt is the champion, which is on trial, and when that changes.

Here: one step, from the gate's rows of the cycle before and the outcomes of this one to its rows. Not here: the
statistics (`sequential`), making frames, and reading tables.

Every frame in play is compared with the champion on the briefs of the cycles in which both ran:

- the **challenger** replaces the champion when it is proven better; it retires when proven worse, or unproven for long;
- the **predecessor** keeps the challenger's share of briefs for a while after a promotion. When it is proven better
  than the frame that replaced it, the promotion is undone;
- the **control** runs all the time. When it is proven better than the champion, the champion's predecessor returns. The
  first champion has none; what it has and the control has not are references, so these are withheld for a while.

"Proven" means at every look of the whole history: each test has its share of an error budget, one budget for promotions
and one for rollbacks (`sequential.spend`), so that any of them is wrong with probability `max_wrong` at most.

A cycle counts with the frames that it really ran, so closing it again with corrected numbers may decide otherwise than
was decided then, and still compares what was published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pyarrow as pa

from flywheel_pipelines.lake.tables import PROMPT_GATE
from flywheel_pipelines.learning.gate_state import (
    CHALLENGER,
    CHAMPION,
    CONTROL,
    PREDECESSOR,
    RETIRED,
    WITHHELD,
    GateRules,
    Rival,
    State,
    gate_row,
    in_words,
    state_from,
)
from flywheel_pipelines.sequential import PairSums, compared

ARM_COLUMNS = {"flywheel": "flywheel_value", "challenger": "challenger_value", "control": "control_value"}


@dataclass(frozen=True)
class CycleRun:
    """What a cycle really ran: the frame of each arm, and what each arm achieved per brief (BRIEF_OUTCOMES)."""

    cycle: date
    frames: Mapping[str, str]
    outcomes: pa.Table


@dataclass
class _Close:
    """One close in the making: the state, and the rows of what was decided."""

    state: State
    rules: GateRules
    champion_row: dict[str, Any] = field(default_factory=dict)
    retired: list[dict[str, Any]] = field(default_factory=list)
    started: set[str] = field(default_factory=set)


def decide(previous: pa.Table | None, run: CycleRun, queue: Sequence[str], rules: GateRules) -> pa.Table:
    """The gate's rows after one cycle; the same arguments give the same rows.

    Args:
        previous: PROMPT_GATE of the cycle before; None or empty before the first.
        run: the frames that the cycle ran, and its outcomes.
        queue: frames that may go on trial, first come first; those tried before are skipped.
        rules: the settings.

    Returns:
        PROMPT_GATE without partition columns: champion, challenger or predecessor, control, and who retired. Empty
        where the cycle ran no frames, e.g. an archive's.

    Raises:
        ContractError: the rows of the cycle before hold no champion, or sums that this version does not write.
    """
    if "flywheel" not in run.frames:
        return PROMPT_GATE.empty()
    close = _Close(_state_before(previous, run, rules), rules)
    _take_in(close, run)
    _guard(close, run.cycle)
    _judge_trial(close)
    _end_probation(close)
    _start_next(close, queue)
    _end_withholding(close)
    return _rows(close)


def _state_before(previous: pa.Table | None, run: CycleRun, rules: GateRules) -> State:
    if previous is not None and previous.num_rows:
        return state_from(previous, rules)
    champion = run.frames["flywheel"]
    state = State(champion, tried=(champion,))
    # Before the first close there was no gate; what the YAML put on trial ran in this cycle.
    on_trial = run.frames.get("challenger")
    return state.on_trial(on_trial, rules.max_wrong) if on_trial and on_trial != champion else state


def _take_in(close: _Close, run: CycleRun) -> None:
    """Add the cycle to every comparison that it ran both sides of."""
    state, rules = close.state, close.rules
    control = run.frames.get("control")
    guard = state.rivals.get(CONTROL)
    if control is not None and (guard is None or guard.frame != control):
        # The YAML's prompt was changed, and the treadmill with it.
        state = state.guarded_by(CONTROL, control, rules.max_wrong)
    champion_arm = _arm_of(state.champion, run.frames, ("flywheel", "challenger"))
    for rival in state.rivals.values():
        arms = ("control",) if rival.role == CONTROL else ("challenger", "flywheel")
        arm = _arm_of(rival.frame, run.frames, arms)
        if arm is None or champion_arm is None or arm == champion_arm:
            continue
        pairs = pairs_of(run.outcomes, arm, champion_arm)
        if pairs.n_first or pairs.n_second:
            state = state.with_rival(
                replace(
                    rival,
                    since=rival.since or run.cycle,
                    n_cycles=rival.n_cycles + 1,
                    sums=rival.sums.add(pairs),
                )
            )
    if state.withheld is not None:
        since, n_cycles = state.withheld
        state = replace(state, withheld=(since, n_cycles + 1))
    close.state = state


def _arm_of(frame: str, frames: Mapping[str, str], arms: Sequence[str]) -> str | None:
    return next((arm for arm in arms if frames.get(arm) == frame), None)


def pairs_of(outcomes: pa.Table, first: str, second: str) -> PairSums:
    """The sums over a cycle's briefs of two arms."""
    return compared(*(outcomes[ARM_COLUMNS[arm]].cast(pa.float64()).to_numpy() for arm in (first, second)))


def _guard(close: _Close, cycle: date) -> None:
    """Roll back where the predecessor or the control is proven better than the champion."""
    state, rules = close.state, close.rules
    for role in (PREDECESSOR, CONTROL):
        rival = state.rivals.get(role)
        if rival is None or not rival.finding(rules.better).is_better:
            continue
        words = in_words(rival, rules)
        target = state.predecessor
        if target is None and state.withheld is None:
            reason = f"{role}: {words}. There is no earlier frame to return to, so references are withheld for "
            close.champion_row = _champion_facts("roll_back", rival, rules) | {
                "reason": f"{reason}{_withheld_for(rules)} cycle(s): look at the quality floor and the corpus."
            }
            # Proven, so not spent. Without references it is another comparison.
            state = replace(state, guard_returned=rival.alpha, withheld=(cycle, 0))
            state = state.guarded_by(role, rival.frame, rules.max_wrong)
            continue
        if target is None:
            close.champion_row = _champion_facts("keep", rival, rules) | {
                "reason": f"{role}: {words}. There is no earlier frame to return to, and references are withheld "
                "already: what is left is the scoring model's choice among candidates."
            }
            continue
        failed = state.champion
        reason = f"Rolled back from {failed}: {role} {words}."
        close.retired.append(gate_row(Rival(RETIRED, failed, rival.alpha), rules, "roll_back", reason, None))
        close.champion_row = _champion_facts("roll_back", rival, rules, failed) | {"reason": reason}
        challenger, control = state.rivals.get(CHALLENGER), state.rivals.get(CONTROL)
        state = replace(
            State(
                target,
                tried=state.tried,
                n_trials=state.n_trials,
                n_guards=state.n_guards,
                trial_returned=state.trial_returned,
            ),
            # Proven, so not spent.
            guard_returned=rival.alpha,
        )
        if challenger is not None:
            state = state.on_trial(challenger.frame, rules.max_wrong)
        if control is not None:
            state = state.guarded_by(CONTROL, control.frame, rules.max_wrong)
        break
    close.state = state


def _judge_trial(close: _Close) -> None:
    state, rules = close.state, close.rules
    rival = state.rivals.get(CHALLENGER)
    if rival is None:
        return
    finding, words = rival.finding(rules.better), in_words(rival, rules)
    if finding.is_better:
        close.champion_row = _champion_facts("promote", rival, rules, state.champion) | {
            "reason": f"Promoted: {words}."
        }
        promoted = replace(
            state.without(CHALLENGER),
            champion=rival.frame,
            predecessor=state.champion,
            # Proven, so not spent.
            trial_returned=rival.alpha,
        )
        if rules.probation:
            promoted = promoted.guarded_by(PREDECESSOR, state.champion, rules.max_wrong)
        control = promoted.rivals.get(CONTROL)
        if control is not None:
            promoted = promoted.guarded_by(CONTROL, control.frame, rules.max_wrong)
        close.state = promoted
    elif finding.is_worse:
        _retire(close, rival, f"Retired, proven worse: {words}.")
    elif rival.n_cycles >= rules.trial:
        _retire(close, rival, f"Retired, not proven better within {rules.trial} cycles: {words}.")


def _end_probation(close: _Close) -> None:
    rival, rules = close.state.rivals.get(PREDECESSOR), close.rules
    if rival is None:
        return
    words = in_words(rival, rules)
    if rival.finding(rules.better).is_worse:
        _retire(close, rival, f"Retired, proven worse than its successor: {words}.")
    elif rival.n_cycles >= rules.probation:
        _retire(close, rival, f"Retired, not proven better within {rules.probation} cycles of probation: {words}.")


def _retire(close: _Close, rival: Rival, reason: str) -> None:
    close.retired.append(gate_row(replace(rival, role=RETIRED), close.rules, "retire", reason, close.state.champion))
    close.state = close.state.without(rival.role)


def _start_next(close: _Close, queue: Sequence[str]) -> None:
    """Put the next frame on trial; one at a time, and none during a probation."""
    state = close.state
    if not close.rules.has_trials or CHALLENGER in state.rivals or PREDECESSOR in state.rivals:
        return
    waiting = [frame for frame in queue if frame not in state.tried and frame != state.champion]
    if waiting:
        close.state = state.on_trial(waiting[0], close.rules.max_wrong)
        close.started.add(waiting[0])


def _withheld_for(rules: GateRules) -> int:
    """Cycles for which references are withheld: as many as a probation has, at least one."""
    return max(1, rules.probation)


def _end_withholding(close: _Close) -> None:
    """Show references again after a while: by then the corpus holds others, and they are compared anew."""
    state, rules = close.state, close.rules
    if state.withheld is None or state.withheld[1] < _withheld_for(rules):
        return
    state, control = replace(state, withheld=None), state.rivals.get(CONTROL)
    close.state = state.guarded_by(CONTROL, control.frame, rules.max_wrong) if control is not None else state


def _withheld_row(state: State, rules: GateRules) -> list[dict[str, Any]]:
    if state.withheld is None:
        return []
    since, n_cycles = state.withheld
    reason = f"Prompts show no references, for {n_cycles} of {_withheld_for(rules)} cycle(s) so far."
    decision = "keep" if n_cycles else "start"
    row = gate_row(Rival(WITHHELD, state.champion, 0.0, since, n_cycles), rules, decision, reason, None)
    return [row | {"alpha": None, "needed": None}]


def _rows(close: _Close) -> pa.Table:
    state, rules = close.state, close.rules
    champion = gate_row(Rival(CHAMPION, state.champion, 0.0), rules, "keep", "No other frame is proven better.", None)
    champion |= {"alpha": None, "needed": None} | close.champion_row
    champion |= {
        "predecessor_version": state.predecessor,
        "n_trials": state.n_trials,
        "n_guards": state.n_guards,
        "trial_error_returned": state.trial_returned,
        "guard_error_returned": state.guard_returned,
        "tried": list(state.tried),
    }
    rows = [champion]
    for rival in state.rivals.values():
        started = rival.frame in close.started and rival.role == CHALLENGER
        reason = "On trial from the next cycle on." if started else f"{in_words(rival, rules).capitalize()}."
        rows.append(gate_row(rival, rules, "start" if started else "keep", reason, state.champion))
    rows += _withheld_row(state, rules)
    return PROMPT_GATE.conform(pa.Table.from_pylist([*rows, *close.retired], schema=PROMPT_GATE.schema))


def _champion_facts(decision: str, rival: Rival, rules: GateRules, other: str | None = None) -> dict[str, Any]:
    """What the champion's row keeps of the comparison that decided."""
    row = gate_row(rival, rules, decision, "", other or rival.frame)
    return {name: value for name, value in row.items() if name not in ("frame_version", "role")}
