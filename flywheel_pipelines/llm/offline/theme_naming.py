"""Answering a request to name a theme of tickets, by the words that the tickets share.

Here: telling such a request from others, and a name, a summary and quotes from the tickets in its fences. Not here:
reading fences (`prompt_reading`). It stands in for a model and understands nothing: the name is the words that most
tickets have, and a quote is the sentence with the most of them, copied as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from flywheel_pipelines.llm.offline.prompt_reading import fenced_blocks

TICKET = "ticket "
N_WORDS, N_QUOTES, LONGEST_QUOTE = 3, 2, 240
_WORD = re.compile(r"[^\W\d_][\w'-]{2,}")
_MASKED = re.compile(r"\[[^\]]*\]|<[^>]*>|@\w+|https?:\S+")
_COMMON = frozenset(
    """
    about after again all also and any anyone anywhere are back because been but can can't cannot com could day
    did does doesn't don't even ever every everything for from get getting give goes going good got had has have
    hello help her here hey him his how http https i'm i've into is isn't issue it's its just keep keeps know last
    let like link look make many may me mine more morning much must my need never new nobody not now off old once
    one only our out over people please problem question same say says see send sent she should since some
    somebody someone still such support team tell than thanks that that's the their them then there they third
    this those time too tried try trying two u under use user very want was way we week well went were what when
    where which while who why wife will with without won't work working would write yet you your
    """.split()  # noqa: SIM905 - a page of words reads better than a page of quotes
)


def is_theme_naming(schema: Mapping[str, Any] | None, messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a request asks for a name with quotes, and shows tickets."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, Mapping) or not {"name", "summary", "quotes"} <= properties.keys():
        return False
    return any(label.startswith(TICKET) for label, _ in fenced_blocks(messages))


def name_theme(messages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A name, a summary and verbatim quotes of the tickets shown."""
    tickets = [(int(label.removeprefix(TICKET)), text) for label, text in fenced_blocks(messages) if _is_ticket(label)]
    shared = Counter(word for _, text in tickets for word in sorted(set(_words(text))))
    order = {word: at for at, word in enumerate(word for _, text in tickets for word in _words(text))}
    common = sorted(shared, key=lambda word: (-shared[word], order[word], word))[: 2 * N_WORDS]
    name = " ".join(common[:N_WORDS]) or "various matters"
    told = ", ".join(common) or "various matters"
    quotes = [{"ticket": number, "quote": _best_sentence(text, common)} for number, text in tickets]
    quotes = sorted(quotes, key=lambda one: -sum(word in one["quote"].casefold() for word in common))[:N_QUOTES]
    return {
        "name": (name[0].upper() + name[1:])[:60],
        "summary": f"Customers write about {told}."[:400],
        "quotes": [one for one in quotes if len(one["quote"]) >= 10] or quotes[:1],
    }


def _is_ticket(label: str) -> bool:
    return label.startswith(TICKET) and label.removeprefix(TICKET).isdigit()


def _words(text: str) -> list[str]:
    found = (word.casefold() for word in _WORD.findall(_MASKED.sub(" ", text)))
    return [word for word in found if word.replace("’", "'") not in _COMMON]


def _best_sentence(text: str, common: Iterable[str]) -> str:
    """The sentence with most of the common words, as it stands in the text, cut at the end of a word."""
    wanted = list(common)
    sentences = [found[0].strip() for found in re.finditer(r"[^.!?\n]+[.!?]*", text)]
    long_enough = [one for one in sentences if len(one) >= 10] or [text.strip()]
    best = max(long_enough, key=lambda one: (sum(word in one.casefold() for word in wanted), -len(one)))
    return best if len(best) <= LONGEST_QUOTE else best[:LONGEST_QUOTE].rsplit(" ", 1)[0]
