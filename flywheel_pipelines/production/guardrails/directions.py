"""Which way a sentence points: up or down, yes or no, by English words for it.

Not here: what it is about (`support`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# "But not" sets one thing against another, "no longer" says that it ended: passages often have other words for both.
_DENIAL = r"(?<!but )not(?! only)|never|nobody|neither|nor|cannot|\w+n['’]t"
DENIAL = re.compile(rf"\b(?:{_DENIAL})\b", re.IGNORECASE)
_NEGATION = re.compile(
    rf"\b(?:{_DENIAL}|no|none|nothing|without|fail(?:s|ed|ing)?|failure|refus\w+|reject\w*|unable|denied|den(?:y|ies))\b",
    re.IGNORECASE,
)
_LIKE_A_NEGATION = re.compile(
    r"\b(?:but not|missing|lack(?:s|ed|ing)?|absen\w+|except|closed|stopped|outstanding|pending|yet to|open|await\w*|"
    r"remov\w+|end(?:s|ed)|lost|against)\b",
    re.IGNORECASE,
)
_OF_A_NOUN = re.compile(r"\bno\s+(\w+)", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:]\s+(?:and |but |while |although )?|\s+(?:but|while|although)\s+")
# Each line: words of one way, and words of the other.
_OPPOSITES = (
    (r"r[io]se[sn]?|rising|increas\w+|gr[eo]w(?:s|n|th|ing)?|climb\w*|gain(?:s|ed)?|higher|more|up|expand\w*|doubl\w+|"
     r"exceed\w*|above|improv\w+",
     r"f[ae]ll(?:s|en|ing)?|decreas\w+|shr[aiu]nk\w*|dropp?\w*|declin\w+|lower\w*|less|fewer|down|cut\w*|halv\w+|"
     r"reduc\w+|below|worse\w*|los[est]\w*"),
    (r"open(?:s|ed|ing)?|reopen\w*", r"clos(?:es?|ed|ing|ure)|shut\w*"),
    (r"approv\w+|accept\w*|agree[ds]?|pass(?:es|ed)", r"reject\w*|refus\w+|declined|fail\w*|denied|postpon\w+"),
    (r"won|wins?|winning", r"los[est]\w*"),
    (r"early|earlier|ahead", r"late|later|behind|delay\w*"),
    (r"profit\w*|surplus", r"loss(?:es)?|deficit"),
    (r"hir(?:es?|ed|ing)|join(?:s|ed)?", r"dismiss\w*|laid|left|leav\w+|resign\w*"),
    (r"buy(?:s|ing)?|bought|acquir\w+", r"sell(?:s|ing)?|sold"),
    (r"import(?:s|ed)?", r"export(?:s|ed)?"),
    (r"start(?:s|ed)?|began|beg[iu]ns?", r"stop(?:s|ped)?|end(?:s|ed)|halt\w*|paus\w+"),
)  # fmt: skip
_PAIRS = tuple(
    tuple(re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE) for words in pair) for pair in _OPPOSITES
)


def is_negated(text: str) -> bool:
    """Whether a text denies something."""
    return _NEGATION.search(text) is not None


def may_be_negated(text: str) -> bool:
    """Whether a text denies something, or says as much in a word."""
    return is_negated(text) or _LIKE_A_NEGATION.search(text) is not None


def denied_clauses(text: str) -> Iterator[tuple[str, str]]:
    """Each clause of a text that denies something, and the noun that it denies ("no restrictions"), or nothing."""
    for clause in _CLAUSE.split(text):
        if is_negated(clause):
            noun = _OF_A_NOUN.search(clause)
            yield clause, noun[1] if noun else ""


def turned_round(sentence: str, sources: Sequence[str]) -> Iterator[str]:
    """The word of a sentence that points the other way than all that its sources say."""
    # What a source denies ("will not reopen") it does not say.
    said = " ".join(source for source in sources if not is_negated(source))
    for pair in _PAIRS:
        for own, other in (pair, pair[::-1]):
            found = own.search(sentence)
            if found and not other.search(sentence) and other.search(said) and not own.search(said):
                yield f"{found[0]}, where the passages say {other.search(said)[0]}"  # pyright: ignore[reportOptionalSubscript]
