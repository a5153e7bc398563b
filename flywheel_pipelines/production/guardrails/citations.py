"""Citations: every sentence cites a passage of its brief, word for word, and says no more than the passages it cites.

Here: their form. Not here: whether a passage bears a sentence out (`support`), or whether the passage is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel_pipelines.passages import Passage
from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts
from flywheel_pipelines.production.guardrails.plain import plain, shortened
from flywheel_pipelines.production.guardrails.support import Support
from flywheel_pipelines.spec import CitationsSpec

MISCITED, UNSUPPORTED = "citation", "unsupported"
"""How the reasons begin; other reasons may stand before them."""
MOST_SHOWN = 5
"""Reasons that are told of one output."""


def uncited(text: str, content: Any, brief: BriefFacts, wanted: CitationsSpec) -> list[str]:
    """What is wrong with the citations of an output, sentence by sentence.

    Args:
        text: what its reader sees; nothing may stand there that no statement says.
        content: its parts; None where it has none.
        brief: its brief, with the passages that can be cited.
        wanted: the rule.
    """
    statements = content.get(wanted.field) if isinstance(content, Mapping) else None
    if not isinstance(statements, list) or not statements:
        return [f"{MISCITED}: no list of statements in {wanted.field}"]
    passages = {passage.id: passage for passage in brief.passages}
    support = Support(brief.passages, brief.locale, wanted)
    reasons, rest = [], _bare(text)
    for statement in statements:
        parts: Mapping[str, Any] = statement if isinstance(statement, Mapping) else {}
        sentence = str(parts.get("sentence") or "")
        rest = rest.replace(_bare(sentence), "", 1)
        cited, wrong = _cited(parts.get("citations"), passages, wanted.least_quote)
        reasons += [f"{MISCITED}: {problem}, in {shortened(sentence)!r}" for problem in wrong]
        if cited and (found := support.missing(plain(sentence), cited)):
            reasons.append(f"{UNSUPPORTED}: {shortened(sentence)!r} says {'; '.join(found)}")
    if rest:
        reasons.append(f"{MISCITED}: {shortened(rest)!r} stands outside of the statements, and cites nothing")
    return reasons[:MOST_SHOWN]


def _cited(citations: Any, passages: Mapping[str, Passage], least: int) -> tuple[list[Passage], list[str]]:
    """The passages that are cited as they should be, and what is wrong with the other citations."""
    if not isinstance(citations, list) or not citations:
        return [], ["cites no passage"]
    cited: dict[str, Passage] = {}
    wrong = []
    for citation in citations:
        parts: Mapping[str, Any] = citation if isinstance(citation, Mapping) else {}
        name, quote = str(parts.get("passage") or ""), str(parts.get("quote") or "")
        passage = passages.get(name)
        if passage is None:
            wrong.append(f"there is no passage {shortened(name)!r} in the brief")
        elif not _bare(quote) or _bare(quote) not in _bare(passage.text):
            wrong.append(f"{shortened(quote)!r} does not stand in {shortened(name)}")
        elif len(quote.split()) < least and _bare(quote) != _bare(passage.text):
            wrong.append(f"{shortened(quote)!r} is too short a quote, at least {least} words are wanted")
        else:
            cited[name] = passage
    return list(cited.values()), wrong


def _bare(text: str) -> str:
    """The plain text without any white space: up to that a quote is verbatim."""
    return "".join(plain(text).split())
