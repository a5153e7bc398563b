"""Which outputs are examples to train on: answers to imitate, and pairs of a better and a worse answer.

Here: choosing them by the floor's judgement and by what reviewers left. Not here: what they ask, near-duplicates,
personal data and the split (`training_sets`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.spec import TrainingSetsSpec

SFT, PREFERENCE = "sft", "preference"
FEEDBACK, EDIT = "feedback", "edit"
INTERVAL_WIDTH = 2 * 1.6448536269514722
"""Standard deviations between the ends of a central 90% interval of a normal distribution."""

NOT_MATURE = "promoted, but its measurement window has not passed"
REFUSED = "promoted, but a reviewer rejected it"
NO_FORM = "edited text that does not fit the parts of the output's schema"
ALIKE = "both sides of the pair are nearly the same"
OVER_CAP = "more pairs of one brief than pairs_per_brief"


@dataclass(frozen=True)
class Candidate:
    """One judged output, its newest judgement, and what a model would have had to answer.

    `text` is what went out as a reader sees it, `answer` the same as a model says it (JSON where the cycle had
    an output schema). `left_text` and `left_answer` are what a reviewer left; None unless edited, `left_answer` also
    where the edited text does not fit the schema's parts. `review` is the reviewer's decision, None without one.
    """

    output_id: str
    cycle: date
    brief_id: str
    segment: str
    locale: str | None
    text: str
    answer: str
    decision: str
    is_mature: bool
    posterior_mean: float
    lower: float
    upper: float
    p_above: float
    floor_level: float | None
    reason: str
    model: str | None = None
    review: str | None = None
    edit_similarity: float | None = None
    left_text: str | None = None
    left_answer: str | None = None

    @property
    def is_proven(self) -> bool:
        """Promoted by the floor once its measurement window had passed, and not rejected by a reviewer."""
        return self.decision == "promote" and self.is_mature and self.review != "rejected" and bool(self.text.strip())


@dataclass(frozen=True)
class Example:
    """One example without its prompt. Texts are what readers see; answers are what the files hold."""

    kind: Literal["sft", "preference"]
    source: Literal["feedback", "edit"]
    chosen: Candidate
    chosen_text: str
    chosen_answer: str
    reason: str
    quality: float
    rejected_id: str | None = None
    rejected_text: str | None = None
    rejected_answer: str | None = None
    p_better: float | None = None

    @property
    def example_id(self) -> str:
        """Hash of kind, outputs and source (16 hex digits)."""
        return content_hash("training", self.kind, self.source, self.chosen.output_id, self.rejected_id or "")

    @property
    def order(self) -> tuple[Any, ...]:
        """Where it stands in its file."""
        return (self.chosen.cycle, self.chosen.brief_id, self.source, self.chosen.output_id, self.rejected_id or "")


def choose_examples(
    candidates: Iterable[Candidate], settings: TrainingSetsSpec, better: Literal["higher", "lower"]
) -> tuple[list[Example], Counter[str]]:
    """Every example that the judgements and reviews support, the best first, and how many were passed over and why.

    - sft: every proven output; where a reviewer edited it, what the reviewer left.
    - preference from feedback: a proven output and another mature one of the same brief and cycle that the floor
      rejected, or that is worse with probability `settings.pair_confidence` (`p_better`).
    - preference from an edit: what a reviewer left and the draft it was made from.
    """
    known = sorted(candidates, key=lambda one: (one.cycle, one.brief_id, one.output_id))
    passed_over: Counter[str] = Counter()
    for one in known:
        if one.decision == "promote" and not one.is_mature:
            passed_over[NOT_MATURE] += 1
        elif one.decision == "promote" and one.review == "rejected":
            passed_over[REFUSED] += 1
        if one.review == "edited" and one.left_answer is None and (one.is_proven or settings.edits == "any"):
            passed_over[NO_FORM] += 1
    proven = [one for one in known if one.is_proven and not (one.review == "edited" and one.left_answer is None)]
    edited = [one for one in known if one.left_answer is not None and (one.is_proven or settings.edits == "any")]
    examples = [
        *(_imitation(one, better) for one in proven),
        *_won_pairs(proven, known, settings, better, passed_over),
        *(_edit_pair(one, better) for one in edited if (one.left_text or "").strip() and one.left_text != one.text),
    ]
    examples.sort(key=lambda one: (-one.quality, -one.chosen.p_above, -one.chosen.cycle.toordinal(), one.example_id))
    return examples, passed_over


def p_better(first: Candidate, second: Candidate, better: Literal["higher", "lower"]) -> float:
    """Probability that the first's true value is the better one, from the two posteriors in `scored_outputs`.

    Normal with each posterior's mean and the spread of its 90% interval, taken as independent:
    Phi((m1 - m2) / sqrt(s1^2 + s2^2)). Outputs of one brief share its effect, so their posteriors move together and the
    true spread of the difference is smaller: above one half this errs on the side of doubt.
    """
    gap = first.posterior_mean - second.posterior_mean
    spread = math.hypot(first.upper - first.lower, second.upper - second.lower) / INTERVAL_WIDTH
    gap = -gap if better == "lower" else gap
    if spread == 0:
        return 0.5 if gap == 0 else float(gap > 0)
    return 0.5 * (1 + math.erf(gap / spread / math.sqrt(2)))


def _quality(one: Candidate, better: str) -> float:
    gain = (one.posterior_mean - one.floor_level) / abs(one.floor_level) if one.floor_level else 0.0
    return -gain if better == "lower" else gain


def _left(one: Candidate) -> tuple[str, str]:
    """Text and answer to imitate: what a reviewer left, else what went out."""
    if one.left_text is not None and one.left_answer is not None:
        return one.left_text, one.left_answer
    return one.text, one.answer


def _imitation(one: Candidate, better: str) -> Example:
    text, answer = _left(one)
    is_edited = one.left_answer is not None
    reason = f"as a reviewer left it; {one.reason}" if is_edited else one.reason
    return Example(SFT, EDIT if is_edited else FEEDBACK, one, text, answer, reason, _quality(one, better))


def _won_pairs(
    proven: Sequence[Candidate],
    known: Sequence[Candidate],
    settings: TrainingSetsSpec,
    better: Literal["higher", "lower"],
    passed_over: Counter[str],
) -> list[Example]:
    others: Mapping[tuple[date, str], list[Candidate]] = defaultdict(list)
    for one in known:
        others[one.cycle, one.brief_id].append(one)
    by_brief: Mapping[tuple[date, str], list[Example]] = defaultdict(list)
    for winner in proven:
        for loser in others[winner.cycle, winner.brief_id]:
            if loser.output_id == winner.output_id or not loser.is_mature or not loser.text.strip():
                continue
            probability = p_better(winner, loser, better)
            if probability <= 0.5 or (loser.decision != "reject" and probability < settings.pair_confidence):
                continue
            by_brief[winner.cycle, winner.brief_id].append(_won_pair(winner, loser, probability, better))
    kept = []
    for of_brief in by_brief.values():
        of_brief.sort(key=lambda pair: (-(pair.p_better or 0.0), pair.example_id))
        passed_over[OVER_CAP] += len(of_brief[settings.pairs_per_brief :])
        kept.extend(of_brief[: settings.pairs_per_brief])
    return kept


def _won_pair(winner: Candidate, loser: Candidate, probability: float, better: str) -> Example:
    text, answer = _left(winner)
    why = "the floor rejected the other" if loser.decision == "reject" else "the other is clearly below"
    return Example(
        PREFERENCE,
        FEEDBACK,
        winner,
        text,
        answer,
        f"{probability:.0%} sure that it is better ({winner.posterior_mean:.4g} against {loser.posterior_mean:.4g}); "
        f"{why}",
        _quality(winner, better),
        loser.output_id,
        loser.text,
        loser.answer,
        probability,
    )


def _edit_pair(one: Candidate, better: str) -> Example:
    assert one.left_text is not None and one.left_answer is not None
    left = "" if one.edit_similarity is None else f"; {one.edit_similarity:.0%} of the draft is left"
    return Example(
        PREFERENCE,
        EDIT,
        one,
        one.left_text,
        one.left_answer,
        f"a reviewer edited the draft{left}",
        _quality(one, better),
        one.output_id,
        one.text,
        one.answer,
    )
