"""Who is in play at the gate, their comparisons with the champion, and the rows that carry both from cycle to cycle.

Here: the state between two closes, read from rows of PROMPT_GATE and written to them. Not here: what a close decides
(`gate.py`), and the statistics (`sequential`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

import pyarrow as pa

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.sequential import Comparison, bounds_of, evidence_against_equal, needed_evidence, spend

CHAMPION, CHALLENGER, PREDECESSOR, CONTROL, RETIRED = "champion", "challenger", "predecessor", "control", "retired"
WITHHELD = "withheld"
"""Not a frame in play: while the champion has a row of this role, prompts show no references."""
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class GateRules:
    """The settings of the gate; `has_trials` says whether any briefs are set aside for a challenger."""

    metric: str
    better: Better = "higher"
    max_wrong: float = 0.05
    trial: int = 12
    probation: int = 4
    has_trials: bool = True


@dataclass(frozen=True)
class Finding:
    """A comparison with the champion as of a look: lift over it with its anytime-valid interval, None where unknown."""

    estimate: float | None
    lower: float | None
    upper: float | None
    evidence: float | None

    @property
    def is_better(self) -> bool:
        """Proven better than the champion."""
        return self.lower is not None and self.lower > 0

    @property
    def is_worse(self) -> bool:
        """Proven worse than the champion."""
        return self.upper is not None and self.upper < 0


@dataclass(frozen=True)
class Rival:
    """A frame that is compared with the champion."""

    role: str
    frame: str
    alpha: float
    since: date | None = None
    n_cycles: int = 0
    sums: Comparison = field(default_factory=Comparison)

    def finding(self, better: Better) -> Finding:
        """What its comparison says by now."""
        found = bounds_of(self.sums, self.alpha)
        evidence = evidence_against_equal(self.sums)
        sign = 1.0 if better == "higher" else -1.0
        estimate = None if found.ratio is None else sign * (found.ratio - 1)
        if found.lower is None or found.upper is None:
            return Finding(estimate, None, None, evidence)
        lower, upper = sorted(sign * (end - 1) for end in (found.lower, found.upper))
        return Finding(estimate, lower, upper, evidence)


@dataclass(frozen=True)
class State:
    """Who is in play, and what is left of the error budgets."""

    champion: str
    predecessor: str | None = None
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    tried: tuple[str, ...] = ()
    n_trials: int = 0
    n_guards: int = 0
    trial_returned: float = 0.0
    guard_returned: float = 0.0
    withheld: tuple[date, int] | None = None
    """Since which close references are withheld, and for how many cycles they have been; None while they are shown."""

    def without(self, role: str) -> State:
        """The state after a rival has left."""
        return replace(self, rivals={name: rival for name, rival in self.rivals.items() if name != role})

    def with_rival(self, rival: Rival) -> State:
        """The state with a rival put in, or brought up to date."""
        return replace(self, rivals={**self.rivals, rival.role: rival})

    def on_trial(self, frame: str, max_wrong: float) -> State:
        """The state with a challenger whose comparison begins."""
        alpha = spend(max_wrong, self.n_trials + 1, self.trial_returned)
        tried = self.tried if frame in self.tried else (*self.tried, frame)
        state = replace(self, n_trials=self.n_trials + 1, trial_returned=0.0, tried=tried)
        return state.with_rival(Rival(CHALLENGER, frame, alpha))

    def guarded_by(self, role: str, frame: str, max_wrong: float) -> State:
        """The state with a rival (predecessor or control) whose comparison, which may roll back, begins."""
        alpha = spend(max_wrong, self.n_guards + 1, self.guard_returned)
        state = replace(self, n_guards=self.n_guards + 1, guard_returned=0.0)
        return state.with_rival(Rival(role, frame, alpha))


def state_from(previous: pa.Table, rules: GateRules) -> State:
    """The state that a close left in its rows (PROMPT_GATE, not empty). After a change of metric all begin anew.

    Raises:
        ContractError: the rows hold no champion, several, or sums that this version does not write.
    """
    rows = previous.to_pylist()
    champions = [row for row in rows if row["role"] == CHAMPION]
    if len(champions) != 1:
        raise ContractError(
            f"Table prompt_gate: found {len(champions)} champions in one cycle, expected one. Close that cycle again."
        )
    row = champions[0]
    state = State(
        champion=row["frame_version"],
        predecessor=row["predecessor_version"],
        tried=tuple(row["tried"]),
        n_trials=row["n_trials"],
        n_guards=row["n_guards"],
        trial_returned=row["trial_error_returned"],
        guard_returned=row["guard_error_returned"],
    )
    for other in rows:
        if other["role"] == WITHHELD:
            state = replace(state, withheld=(other["since"], other["n_cycles"]))
        if other["role"] not in (CHALLENGER, PREDECESSOR, CONTROL):
            continue
        if other["metric"] == rules.metric:
            state = state.with_rival(_rival_from(other))
        else:
            # Rates of another metric do not add up, so these are comparisons of their own.
            state = _begun_anew(state, other["role"], other["frame_version"], rules)
    return state


def _begun_anew(state: State, role: str, frame: str, rules: GateRules) -> State:
    if role == CHALLENGER:
        return state.on_trial(frame, rules.max_wrong)
    return state.guarded_by(role, frame, rules.max_wrong)


def _rival_from(row: Mapping[str, Any]) -> Rival:
    try:
        sums = Comparison.from_carried(row["sums"])
    except ValueError as error:
        raise ContractError(
            f"Table prompt_gate, column sums, {row['role']} {row['frame_version']}: {error}. An older version wrote "
            "them: close the cycles again from the first."
        ) from error
    return Rival(row["role"], row["frame_version"], row["alpha"], row["since"], row["n_cycles"], sums)


def gate_row(rival: Rival, rules: GateRules, decision: str, reason: str, other: str | None) -> dict[str, Any]:
    """A row of PROMPT_GATE about a comparison; what only a champion has is empty."""
    finding = rival.finding(rules.better)
    return {
        "frame_version": rival.frame,
        "role": rival.role,
        "decision": decision,
        "reason": reason,
        "metric": rules.metric,
        "compared_with": other,
        "since": rival.since,
        "n_cycles": rival.n_cycles,
        "n_briefs": rival.sums.n_first + rival.sums.waiting.n_first,
        "n_briefs_other": rival.sums.n_second + rival.sums.waiting.n_second,
        "estimate": finding.estimate,
        "lower": finding.lower,
        "upper": finding.upper,
        "evidence": finding.evidence,
        "needed": needed_evidence(rival.alpha) if rival.alpha else None,
        "alpha": rival.alpha,
        "sums": rival.sums.carried(),
        "predecessor_version": None,
        "n_trials": 0,
        "n_guards": 0,
        "trial_error_returned": 0.0,
        "guard_error_returned": 0.0,
        "tried": [],
    }


def in_words(rival: Rival, rules: GateRules) -> str:
    """A comparison with the champion for a person, with its numbers."""
    finding = rival.finding(rules.better)
    briefs = f"{rival.sums.n_first} against {rival.sums.n_second} briefs in {rival.n_cycles} cycles"
    if finding.estimate is None:
        return f"not to be compared yet, {briefs}"
    lift = f"{finding.estimate:+.1%} over the champion"
    if finding.lower is None or finding.upper is None or finding.evidence is None:
        return f"{lift}, too little for an interval, {briefs}"
    interval = f"{1 - 2 * rival.alpha:.1%} interval {finding.lower:+.1%} to {finding.upper:+.1%}"
    return (
        f"{lift} ({interval}, evidence {finding.evidence:.3g} of {needed_evidence(rival.alpha):.3g} needed), {briefs}"
    )
