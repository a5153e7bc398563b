"""Answering a request to contrast winners with losers, by what the grammar can say of a text.

Here: telling such a request from others, reading its fences, and writing guidelines in words that the same writer obeys
(`prompt_reading`). Not here: reading the choices of a text (`choices`). The writer knows the texts alone; that they won
it is told by the labels of their fences.

For every option it compares how many winners and how many losers carry it out (two proportions, pooled z), and names
the options with the clearest difference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flywheel_pipelines.llm.offline.grammars import BUILT_IN, Grammar
from flywheel_pipelines.llm.offline.prompt_reading import choices_ordered, fenced_blocks

WINNER, LOSER, CURRENT = "winner ", "loser ", "guidelines"
CLEAR = 1.0
"""Least z of a difference that is worth a guideline: one in six by chance, which a trial has to sort out."""
MOST = 4


def is_reflection(schema: Mapping[str, Any] | None, messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a request asks for guidelines with their support, and shows winners."""
    properties = (schema or {}).get("properties")
    wanted = properties.get("guidelines") if isinstance(properties, Mapping) else None
    items = wanted.get("items") if isinstance(wanted, Mapping) else None
    asked = items.get("properties") if isinstance(items, Mapping) else None
    if not isinstance(asked, Mapping) or not {"text", "supports"} <= asked.keys():
        return False
    return any(label.startswith(WINNER) for label, _ in fenced_blocks(messages))


def reflect(
    schema: Mapping[str, Any], messages: Iterable[Mapping[str, Any]], grammar: Grammar = BUILT_IN
) -> dict[str, Any]:
    """Guidelines that tell the winners from the losers, each with the ids of the winners that follow it."""
    winners: dict[str, dict[str, str]] = {}
    losers: dict[str, dict[str, str]] = {}
    current = ""
    for label, text in fenced_blocks(messages):
        if label.startswith(WINNER):
            winners[label.removeprefix(WINNER)] = grammar.read(text)
        elif label.startswith(LOSER):
            losers[label.removeprefix(LOSER)] = grammar.read(text)
        elif label == CURRENT:
            current = text
    ordered = _ordered_now(current, grammar)
    found = []
    for choice, options in grammar.choices.items():
        best = max(options, key=lambda option: _difference(winners, losers, choice, option))
        z = _difference(winners, losers, choice, best)
        number, now = ordered.get(choice, (0, ""))
        if z < CLEAR or now == best:
            continue
        support = [shown_id for shown_id, read in winners.items() if read.get(choice) == best]
        found.append((-z, {"text": grammar.sentences[choice][best], "supports": support, "replaces": number}))
    guidelines = [guideline for _, guideline in sorted(found, key=lambda one: (one[0], one[1]["text"]))[:MOST]]
    takes_replaces = "replaces" in schema["properties"]["guidelines"]["items"]["properties"]
    if not takes_replaces:
        guidelines = [{"text": one["text"], "supports": one["supports"]} for one in guidelines]
    note = f"{len(winners)} winners against {len(losers)} losers; {len(guidelines)} clear difference(s)."
    return {"guidelines": guidelines, **({"note": note} if "note" in schema["properties"] else {})}


def _difference(
    winners: Mapping[str, Mapping[str, str]], losers: Mapping[str, Mapping[str, str]], choice: str, option: str
) -> float:
    """Z of the difference between the shares of winners and of losers that carry an option out."""
    sides = [[read[choice] == option for read in side.values() if choice in read] for side in (winners, losers)]
    if not all(sides):
        return 0.0
    n_won, n_lost = len(sides[0]), len(sides[1])
    pooled = (sum(sides[0]) + sum(sides[1])) / (n_won + n_lost)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_won + 1 / n_lost))
    return (sum(sides[0]) / n_won - sum(sides[1]) / n_lost) / spread if spread else 0.0


def _ordered_now(current: str, grammar: Grammar) -> dict[str, tuple[int, str]]:
    """What the present guidelines order: choice -> the number of the guideline, and its option."""
    ordered = {}
    for line in current.splitlines():
        numbered = re.match(r"(\d+)\. (.*)", line)
        if numbered:
            for choice, option in choices_ordered(numbered[2], grammar).items():
                ordered[choice] = (int(numbered[1]), option)
    return ordered
