"""The optimiser `gepa` on a flywheel: briefs of the past are written for again, and the scoring model says how well.

Here: which briefs, what a proposal's prompt is, asking for texts and proposals, and what the outcome says. Not here:
the search and its gate (`learning/optimising.py`), the test (`learning/paired_test.py`).

Every request goes through the request ledger. A run that was cut off asks the same questions again, and gets the
answers that are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flywheel_pipelines.chat import ChatRequest
from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.frames import Frame, Guideline, Proposal
from flywheel_pipelines.learning.model_tables import model_from_tables
from flywheel_pipelines.learning.optimising import Budget, Items, Lines, Optimised, optimise_guidelines
from flywheel_pipelines.learning.paired_test import PairedTest
from flywheel_pipelines.learning.prompt import references_of
from flywheel_pipelines.learning.reflection import (
    ANSWER_SCHEMA,
    Contrast,
    Shown,
    ask_for_guidelines,
    read_guidelines,
)
from flywheel_pipelines.loop.prompts import KnownFrame, corpus_shown, render
from flywheel_pipelines.loop.proposing import ANSWER_TOKENS, NOT_DUE, NOTHING_NEW, PROPOSED, Opening, Outcome, priced
from flywheel_pipelines.production.content import in_schema_order, labelled_text, readable_text
from flywheel_pipelines.production.identity import uniform
from flywheel_pipelines.production.rendering import messages_for, without_role_marks

OPTIMISER = "optimiser"
"""What its requests are asked for, where other requests have an arm."""
TRAIN_SHARE = 0.3
"""Share of the briefs that are left after validation to propose from; the others are evidence."""


def optimise(opening: Opening) -> Outcome:
    """One search for better guidelines. Raises FlywheelError when it cannot be done."""
    desk = _Desk(opening)
    model = desk.scoring_model_row
    if not model["is_skilled"]:
        return Outcome(NOT_DUE, f"No scoring model to optimise by: {model['reason']}")
    spec = opening.flywheel.spec.prompt.optimiser
    items = split_briefs(sorted(desk.briefs), validation=spec.validation, flywheel=opening.flywheel.name)
    done = optimise_guidelines(
        desk.learned,
        items,
        score=desk.score,
        propose=desk.propose,
        test=PairedTest,
        budget=Budget(spec.max_texts, spec.minibatch, spec.evidence, spec.error),
        seed=int(hashlib.sha256(f"{opening.flywheel.name}/{opening.cycle}".encode()).hexdigest()[:8], 16),
    )
    counts: dict[str, Any] = {
        "model": opening.model,
        "n_winners": len(desk.briefs),
        "n_guidelines": done.n_proposals,
        "n_dropped": sum(not one.passed for one in done.tested),
        "n_requests": desk.n_requests,
        "cost": desk.cost,
    }
    tested = f"{done.n_proposals} proposal(s), {len(done.tested)} tested on evidence of their own, {done.n_texts} texts"
    if done.best is None:
        return Outcome(NOTHING_NEW, f"{tested}; none is better beyond doubt.", **counts)
    return Outcome(
        PROPOSED, f"{tested}; on trial from {opening.trial_starts}.", _proposal(opening, desk, done), **counts
    )


def split_briefs(briefs: Sequence[str], *, validation: int, flywheel: str) -> Items:
    """Briefs to propose from, to rank by, and to test on: by hash, so that a brief keeps its use from run to run."""
    drawn = sorted(briefs, key=lambda brief: uniform("optimiser", flywheel, brief))
    n_validation = min(validation, max(1, len(drawn) // 3))
    rest = drawn[n_validation:]
    n_train = max(1, round(len(rest) * TRAIN_SHARE)) if rest else 0
    return Items(tuple(rest[:n_train]), tuple(drawn[:n_validation]), tuple(rest[n_train:]))


def _proposal(opening: Opening, desk: _Desk, done: Optimised) -> Proposal:
    assert done.best is not None
    evidence = {
        "strategy": "gepa",
        "model": opening.model,
        "scoring_model_version": desk.scoring_model_row["model_version"],
        "n_texts": done.n_texts,
        "n_proposals": done.n_proposals,
        "error": opening.flywheel.spec.prompt.optimiser.error,
        "tested": [
            {
                "guidelines": list(one.guidelines),
                "n_pairs": one.n_pairs,
                "mean_difference": round(one.mean_difference, 9),
                "passed": one.passed,
            }
            for one in done.tested
        ],
    }
    return Proposal(
        desk.frame_with(done.best),
        "optimiser",
        opening.trial_starts,
        parent=opening.champion.frame.version,
        evidence=evidence | ({"is_simulated": True} if opening.is_offline else {}),
        note="Found by gepa: predicted to do better on briefs that it was not made from.",
    )


@dataclass
class _Desk:
    """Writes and scores texts, and asks for proposals, for one optimisation."""

    opening: Opening
    n_requests: int = 0
    cost: float | None = 0.0

    @cached_property
    def briefs(self) -> dict[str, dict[str, Any]]:
        """Rows of `briefs` in the corpus's lookback, by cycle and brief."""
        flywheel = self.opening.flywheel
        window = flywheel.window(self.opening.predecessor, flywheel.spec.corpus.lookback)
        rows = self.opening.store.read(tables.BRIEFS, flywheel.name, window).to_pylist()
        return {f"{row['cycle']}/{row['brief_id']}": row for row in rows}

    @cached_property
    def scoring_model_row(self) -> dict[str, Any]:
        """The scoring model that the cycle before handed over."""
        opening = self.opening
        return opening.store.read(tables.SCORING_MODEL, opening.flywheel.name, opening.predecessor).to_pylist()[0]

    @cached_property
    def _predict(self) -> Callable[[list[str], list[str]], Sequence[float]]:
        opening, sign = self.opening, -1.0 if self.opening.flywheel.spec.metric.better == "lower" else 1.0
        terms = opening.store.read(tables.SCORING_MODEL_TERMS, opening.flywheel.name, opening.predecessor)
        model = model_from_tables(self.scoring_model_row, terms)
        return lambda texts, segments: [sign * float(value) for value in model.predict(texts, segments)]

    @cached_property
    def _corpus(self) -> Any:
        opening = self.opening
        return corpus_shown(opening.store, opening.flywheel.name, opening.predecessor)

    @cached_property
    def house_rules(self) -> frozenset[str]:
        """The owner's guidelines, which are not for the optimiser to change."""
        return frozenset(self.opening.flywheel.spec.house_rules)

    @cached_property
    def learned(self) -> Lines:
        """The champion's learned guidelines, from which the search starts."""
        return tuple(line for line in self.opening.champion.frame.lines if line not in self.house_rules)

    def frame_with(self, learned: Lines) -> Frame:
        """The champion's frame with these learned guidelines instead of its own."""
        frame = self.opening.champion.frame
        known = {one.text: one for one in frame.guidelines}
        rules = tuple(one for one in frame.guidelines if one.text in self.house_rules)
        return Frame(frame.template, (*rules, *(known.get(line, Guideline(line)) for line in learned)))

    def score(self, items: Sequence[str], guidelines: Lines, purpose: str) -> list[tuple[str, float]]:
        """See `learning.optimising.Score`."""
        known = KnownFrame(self.frame_with(guidelines), "optimiser")
        prompt = render(self.opening.flywheel, known, self._corpus).to_pylist()[0]
        references = references_of(self._corpus)
        producer, schema = self.opening.producer, self.opening.flywheel.output_schema()
        requests = []
        for item in items:
            brief = self.briefs[item]
            rendered = messages_for(prompt["frame"], references, brief, max_prompt_tokens=producer.max_prompt_tokens)
            requests.append(
                self._request(
                    f"{item}/{purpose}",
                    rendered.messages,
                    schema,
                    producer.max_output_tokens,
                    producer.model if not self.opening.is_offline else self.opening.model,
                    prompt["prompt_version"],
                )
            )
        answers = self._answered(requests)
        text_of = labelled_text if producer.text == "fields" else readable_text
        texts = [text_of(in_schema_order(answer, schema)) for answer in answers]
        segments = [str(self.briefs[item]["segment"]) for item in items]
        return list(zip(texts, self._predict(texts, segments), strict=True))

    def propose(self, guidelines: Lines, seen: Sequence[tuple[str, str, float]]) -> Lines:
        """See `learning.optimising.Propose`: the best texts of the minibatch against its worst."""
        frame = self.frame_with(guidelines)
        shown = [Shown(f"text{number}", text, "", value) for number, (_, text, value) in enumerate(seen)]
        half = len(shown) // 2
        pairs = [Contrast("segment", "", won, lost) for won, lost in zip(shown[::-1][:half], shown[:half], strict=True)]
        spec = self.opening.flywheel.spec
        asked = ask_for_guidelines(
            pairs,
            frame,
            house_rules=self.house_rules,
            metric=spec.floor.metric,
            support=1,
            n_new=spec.prompt.learned_guidelines,
            max_tokens=spec.prompt.reflect_tokens,
            escape=without_role_marks,
        )
        request = self._request(
            "proposal", asked.messages, ANSWER_SCHEMA, ANSWER_TOKENS, self.opening.model, frame.version
        )
        (answer,) = self._answered([request])
        reflected = read_guidelines(
            answer,
            asked,
            frame,
            house_rules=self.house_rules,
            support=1,
            most_learned=spec.prompt.learned_guidelines,
        )
        return tuple(line for line in reflected.frame.lines if line not in self.house_rules)

    def _request(
        self,
        name: str,
        messages: tuple[Any, ...],
        schema: Mapping[str, Any] | None,
        max_output_tokens: int,
        model: str,
        prompt_version: str,
    ) -> ChatRequest:
        return ChatRequest(
            flywheel=self.opening.flywheel.name,
            cycle=self.opening.cycle,
            brief_id=name,
            arm=OPTIMISER,
            variant=0,
            attempt=1,
            model=model,
            messages=messages,
            schema=schema,
            parameters=self.opening.parameters,
            max_output_tokens=max_output_tokens,
            prompt_version=prompt_version,
        )

    def _answered(self, requests: Sequence[ChatRequest]) -> list[Mapping[str, Any]]:
        report = self.opening.writers.answer(requests, priced(self.opening), self.opening.store)
        self.n_requests += len(requests)
        self.cost = None if self.cost is None or report.cost is None else self.cost + report.cost
        if report.failures:
            raise FlywheelError(f"The optimiser's requests could not all be answered. {report.words}")
        return [report.answers[request.key].content for request in requests]
