"""From a prompt to a text: which options are chosen, and why.

Here: the writer's habits. Not here: reading the prompt (`prompt_reading`), wording (`grammar`), fields
(`schema_filling`).

Orders outside the fences are obeyed. What they leave open leans toward what the references do: with probability FOLLOW
an option is drawn by how often the references carry it out (counts smoothed, then squared, so that a habit most of them
share stands out), otherwise at random. So the writer learns from good references and as readily from bad ones.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel_pipelines.llm.offline.grammar import Draft
from flywheel_pipelines.llm.offline.grammars import BUILT_IN, Grammar
from flywheel_pipelines.llm.offline.prompt_reading import ReadPrompt

FOLLOW = 0.8
"""Probability that a choice follows the references."""
SMOOTHING = 0.5
"""References that every option has before any is counted."""
SHARPNESS = 2.0
"""Power of the counts."""


@dataclass(frozen=True)
class Writing:
    """A draft and the orders that go beyond its choices."""

    draft: Draft
    phrases: tuple[str, ...] = ()
    verbatim: str | None = None


def write(prompt: ReadPrompt, rng: random.Random, grammar: Grammar = BUILT_IN) -> Writing:
    """Write what the prompt asks for; the same prompt and state of `rng` give the same draft."""
    ordered = dict(prompt.orders.choices)
    chosen = {**lean(prompt.references, rng, grammar), **ordered}
    draft = grammar.compose(chosen, prompt.brief, rng, prompt.locale)
    return Writing(draft, prompt.orders.phrases, prompt.orders.verbatim)


def lean(references: Sequence[str], rng: random.Random, grammar: Grammar = BUILT_IN) -> dict[str, str]:
    """One option of every choice: at random without references, else mostly as the references do."""
    read = [grammar.read(reference) for reference in references]
    chosen = {}
    for choice, options in grammar.choices.items():
        weights = _weights([one[choice] for one in read if choice in one], options)
        # Both are drawn every time, so that one choice never shifts the randomness of the next.
        follows, at_random = rng.random() < FOLLOW, options[int(rng.random() * len(options))]
        followed = rng.choices(options, [weights[option] for option in options])[0]
        chosen[choice] = followed if follows and read else at_random
    return chosen


def _weights(seen: Sequence[str], options: Sequence[str]) -> Mapping[str, float]:
    return {option: (seen.count(option) + SMOOTHING) ** SHARPNESS for option in options}
