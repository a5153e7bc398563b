"""Searching for better guidelines with the optimiser `gepa`, behind a gate of our own.

Here: the adapter that lets gepa ask our functions for scores and proposals, the gate that a proposal has to pass, and
the budget of both. Not here: how a text is written and scored, and who proposes (`loop/optimising.py`), and the
statistics of the test (`test` is passed in).

gepa (Agrawal et al. 2025, "Reflective prompt evolution can outperform reinforcement learning") accepts a proposal when
it scores better on a handful of training items, and returns the one with the best mean on its validation set. Both are
maxima over noise: where all prompts are equal, it returns another prompt most of the time. Here a proposal is accepted
only when a test on evidence of its own, drawn after it was made, says that it beats the champion, whatever it was made
from; and what comes back is the best validated of those that passed.

There is no state folder: gepa would pickle its state into one and unpickle what it finds there. Nothing is unpickled
here; a run that was cut off is repeated, and what was asked stands in the request ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.sequential import spend

COMPONENT = "guidelines"
"""The one text that gepa evolves: the learned guidelines, one a line."""
Lines = tuple[str, ...]


class Score(Protocol):
    """Writes for each item with these guidelines and scores what was written; higher is better."""

    def __call__(self, items: Sequence[str], guidelines: Lines, purpose: str) -> list[tuple[str, float]]:
        """Text and score per item. `purpose` tells one draw from another: equal ones give equal texts."""
        ...


class Propose(Protocol):
    """Proposes other guidelines, given those tried and what came of them, worst first."""

    def __call__(self, guidelines: Lines, seen: Sequence[tuple[str, str, float]]) -> Lines:
        """Other guidelines; `seen` holds (item, text, score)."""
        ...


class SequentialTest(Protocol):
    """An anytime-valid test that the mean of what it is shown lies above zero."""

    def add(self, difference: float) -> bool:
        """Take one more difference in; whether it is decided that the mean is above zero."""
        ...


MakeTest = Callable[[float], SequentialTest]
"""A new test with this probability of ever deciding wrongly."""


@dataclass(frozen=True)
class Budget:
    """What an optimisation may use up; a text is one item written and scored once."""

    max_texts: int
    minibatch: int
    evidence: int
    error: float


@dataclass(frozen=True)
class Items:
    """Briefs by what they are for; no brief is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class GateResult:
    """How one proposal fared: texts pairs seen, their mean difference to the champion, and whether it passed."""

    guidelines: Lines
    n_pairs: int
    mean_difference: float
    passed: bool


@dataclass
class Optimised:
    """What an optimisation came to. `best` is None when nothing passed; `stock` is what gepa alone would return."""

    best: Lines | None = None
    stock: Lines | None = None
    tested: list[GateResult] = field(default_factory=list)
    n_texts: int = 0
    n_proposals: int = 0


class BudgetSpent(FlywheelError):
    """No more texts may be written."""


class _Meter:
    """Counts texts against the budget."""

    def __init__(self, score: Score, max_texts: int) -> None:
        self._score, self._max, self.n = score, max_texts, 0

    def __call__(self, items: Sequence[str], guidelines: Lines, purpose: str) -> list[tuple[str, float]]:
        if self.n + len(items) > self._max:
            raise BudgetSpent(f"prompt.optimiser.max_texts: {self._max} texts are written, and no more may be.")
        self.n += len(items)
        return self._score(items, guidelines, purpose)

    @property
    def left(self) -> int:
        return self._max - self.n


class Gate:
    """Accepts a proposal only on evidence of its own against the champion.

    Each proposal is tested with its share of `error` (`sequential.spend`), and all shares together are `error` over any
    number of proposals, so that trying often does not help. Pairs are drawn one by one, the champion's text and the
    proposal's for the same brief. A test may stop at any pair: it is anytime-valid.
    """

    def __init__(self, champion: Lines, items: Items, score: _Meter, budget: Budget, test: MakeTest) -> None:
        self._champion, self._items, self._score, self._budget, self._test = champion, items, score, budget, test
        self.results: dict[Lines, GateResult] = {}

    def passes(self, guidelines: Lines) -> bool:
        """Whether a proposal beats the champion; each is tested once."""
        if guidelines == self._champion:
            return False
        if guidelines not in self.results:
            self.results[guidelines] = self._tested(guidelines)
        return self.results[guidelines].passed

    def _tested(self, guidelines: Lines) -> GateResult:
        number = len(self.results) + 1
        test = self._test(spend(self._budget.error, number))
        differences: list[float] = []
        # What passes has to be ranked yet, and that must fit into the budget, too.
        room = (self._score.left - len(self._items.validation)) // 2
        for draw in range(min(self._budget.evidence, room)):
            # A brief may come twice, with other texts: the mean is over the briefs there are.
            item = self._items.evidence[draw % len(self._items.evidence)]
            purpose = f"evidence/{number}/{draw}"
            (_, mine), (_, theirs) = (self._score([item], lines, purpose)[0] for lines in (guidelines, self._champion))
            differences.append(mine - theirs)
            if test.add(mine - theirs):
                return GateResult(guidelines, len(differences), _mean(differences), passed=True)
        return GateResult(guidelines, len(differences), _mean(differences), passed=False)


def optimise_guidelines(
    champion: Lines,
    items: Items,
    *,
    score: Score,
    propose: Propose,
    test: MakeTest | None,
    budget: Budget,
    seed: int,
) -> Optimised:
    """Search for guidelines that write better than the champion's.

    Args:
        champion: the learned guidelines of the champion's frame; the search starts from them.
        items: briefs to propose from, to rank by, and to test on.
        score: writes and scores; called with one item at a time or several.
        propose: makes one proposal.
        test: an anytime-valid test for a given error; None: gepa's own acceptance, which is no gate at all.
        budget: how much may be written. It is kept exactly.
        seed: of gepa's own draws.

    Raises:
        FlywheelError: gepa is not installed, or there are too few briefs.
    """
    gepa = _gepa()
    if not items.train or not items.validation or not items.evidence:
        raise FlywheelError(
            f"gepa needs briefs to propose from, to rank by and to test on; found {len(items.train)}, "
            f"{len(items.validation)} and {len(items.evidence)}. Let more cycles pass, or lower "
            "prompt.optimiser.validation."
        )
    least = len(items.validation) + 2 * budget.minibatch
    if budget.max_texts < least:
        raise FlywheelError(
            f"prompt.optimiser.max_texts: {budget.max_texts} texts are not enough for {len(items.validation)} of "
            f"validation and one proposal; write at least {least}."
        )
    meter = _Meter(score, budget.max_texts)
    done = Optimised()
    adapter = _Adapter(gepa, meter, propose, done)
    gate = Gate(champion, items, meter, budget, test) if test is not None else None
    criterion = "strict_improvement" if gate is None else _Acceptance(gate)
    found = gepa.optimize(
        seed_candidate={COMPONENT: "\n".join(champion)},
        trainset=list(items.train),
        valset=list(items.validation),
        adapter=adapter,
        acceptance_criterion=criterion,
        reflection_minibatch_size=min(budget.minibatch, len(items.train)),
        skip_perfect_score=False,
        stop_callbacks=lambda state: meter.left < least,
        run_dir=None,
        logger=_Silent(),
        seed=seed,
        raise_on_exception=True,
        track_best_outputs=False,
    )
    done.n_texts = meter.n
    scores = list(found.val_aggregate_scores)
    lines = [lines_of(candidate[COMPONENT]) for candidate in found.candidates]
    best = max(range(len(lines)), key=lambda number: (scores[number], -number))
    done.stock = lines[best] if lines[best] != champion else None
    if gate is None:
        done.best = done.stock
        return done
    done.tested = list(gate.results.values())
    passed = [number for number, one in enumerate(lines) if one in gate.results and gate.results[one].passed]
    # The champion's own validation score does not matter here: it was beaten on the evidence.
    done.best = lines[max(passed, key=lambda number: (scores[number], -number))] if passed else None
    return done


def lines_of(text: str) -> Lines:
    """The guidelines in a text, one a line, without bullets and blanks."""
    return tuple(line.strip().lstrip("-*").strip() for line in text.splitlines() if line.strip().lstrip("-*").strip())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _gepa() -> Any:
    try:
        import gepa
    except ImportError:
        raise FlywheelError(
            "prompt.refresh: gepa needs the optional package gepa, which is not installed. Install it with "
            "pip install 'flywheel-pipelines[gepa]', or write prompt: {refresh: reflect}."
        ) from None
    return gepa


class _Adapter:
    """gepa's view of our functions (its protocol `GEPAAdapter`)."""

    def __init__(self, gepa: Any, score: _Meter, propose: Propose, done: Optimised) -> None:
        self._gepa, self._score, self._propose, self._done = gepa, score, propose, done
        self._n_batches = 0

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Write and score for each item."""
        self._n_batches += 1
        scored = self._score(batch, lines_of(candidate[COMPONENT]), f"batch/{self._n_batches}")
        traces = [(item, text, value) for item, (text, value) in zip(batch, scored, strict=True)]
        return self._gepa.EvaluationBatch(
            outputs=[text for text, _ in scored],
            scores=[value for _, value in scored],
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What a proposal is made from: the texts of a minibatch, worst first."""
        seen = sorted(eval_batch.trajectories, key=lambda one: one[2])
        records = [{"item": item, "text": text, "score": value} for item, text, value in seen]
        return dict.fromkeys(components_to_update, records)

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """One proposal for the guidelines."""
        seen = [(one["item"], one["text"], one["score"]) for one in reflective_dataset[COMPONENT]]
        self._done.n_proposals += 1
        return {COMPONENT: "\n".join(self._propose(lines_of(candidate[COMPONENT]), seen))}


class _Acceptance:
    """Our gate in the place of gepa's own acceptance (its protocol `AcceptanceCriterion`)."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether the proposal did better on its minibatch, and beats the champion on evidence of its own.

        The first is gepa's own rule; it costs no text, and saves those of tests that nothing speaks for.
        """
        if sum(proposal.subsample_scores_after) <= sum(proposal.subsample_scores_before):
            return False
        return self._gate.passes(lines_of(proposal.candidate[COMPONENT]))


class _Silent:
    """gepa's log goes nowhere: what counts stands in the tables."""

    def log(self, message: str) -> None:
        """Say nothing."""
