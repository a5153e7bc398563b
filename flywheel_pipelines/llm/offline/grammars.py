"""The grammars that the offline writer knows: the built-in one, and those that a flywheel brings.

Here: what a grammar is to the writer, and finding the one that a request names. Not here: the built-in
grammar's wording (`grammar`, `phrases_*`), or making a grammar from what a YAML declares (`declared`).

A request names a grammar of its own by `version`, a hash of all that the grammar says, so that its answer still depends
on its body alone. Whoever asks makes the grammar known first; in a process that was not told of it, the request is
refused.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel_pipelines.llm.offline.choices import CHOICES, read_choices
from flywheel_pipelines.llm.offline.grammar import Draft, WriterBrief, compose
from flywheel_pipelines.llm.offline.orders import ORDERS, SENTENCES

PARAMETER = "grammar"
"""The parameter of a request that names its grammar."""
Compose = Callable[[Mapping[str, str], WriterBrief, random.Random, str], Draft]


@dataclass(frozen=True, eq=False)
class Grammar:
    """What there is to choose from, how a text is written by choices, and how they are read back and ordered."""

    version: str
    choices: Mapping[str, tuple[str, ...]]
    read: Callable[[str], dict[str, str]]
    """The options that a text carries out, from the text alone."""
    compose: Compose
    """From choices, brief, randomness and locale to a draft; choices left out are drawn."""
    sentences: Mapping[str, Mapping[str, str]]
    """Choice -> option -> the sentence that orders it."""
    orders: Sequence[tuple[str, str, re.Pattern[str]]] = ()
    """Choice, option, and what an order of it looks like; without any, orders are told word for word."""


BUILT_IN = Grammar("", CHOICES, read_choices, compose, SENTENCES, ORDERS)
_known: dict[str, Grammar] = {BUILT_IN.version: BUILT_IN}


def make_known(grammar: Grammar) -> None:
    """Let the offline writer of this process write by a grammar; saying it twice changes nothing."""
    _known.setdefault(grammar.version, grammar)


def grammar_of_version(version: str) -> Grammar | None:
    """The grammar of that version; None when this process was not told of it."""
    return _known.get(version)
