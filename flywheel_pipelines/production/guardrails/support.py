"""Whether passages bear a sentence out, by its words alone.

Here: figures, dates, names, the direction of what is said, and how many of its words the passages have. Not here:
understanding. A sentence that puts right names and figures together wrongly passes, and an honest one in quite other
words may not; `flywheel_pipelines_tests/production/test_support.py` measures both on claims planted and honest.

- Figures, written in digits or as English number words, must stand in the passages with their unit.
- Dates must be there with day, month and year, as far as the sentence says them.
- Names are words that are written large where others would not be, and acronyms. In German, where every noun is, only
  words with a second capital or a digit count. A sentence's first word counts when another name follows it, or when the
  brief uses it as a name.
- Direction: a sentence that says "rose" while its passages only say "fell", or "not" where no passage does, or leaves
  out the "not" of the sentence it is taken from. English words only.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

from flywheel_pipelines.passages import Passage
from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts
from flywheel_pipelines.production.guardrails.dates import MONTH_OF, dates_beyond
from flywheel_pipelines.production.guardrails.directions import (
    DENIAL,
    denied_clauses,
    is_negated,
    may_be_negated,
    turned_round,
)
from flywheel_pipelines.production.guardrails.figures import figures_beyond
from flywheel_pipelines.production.guardrails.plain import plain, shortened
from flywheel_pipelines.spec import CitationsSpec

_WORD = re.compile(r"[^\W_]+(?:['’.&/-][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’»)\]]*\s+")
_BEGINS = re.compile(r"(?:^|[.!?:;…]|[\"'“„«»(\[]|\s[-–—•])\s*$")
_LABEL = re.compile(r"(?:[\w'’-]+ ){0,5}[\w'’-]+:\s")
_OWNER = re.compile(r"['’]s?$")
_NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_NUMBER_WORD = re.compile(
    rf"(?<![\w-])({'|'.join(_NUMBERS)})(?!\w|[ -](?:thirds|quarters|fifths|tenths|halves)\b)", re.IGNORECASE
)
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """new old high low large small free good long short full first last next late strong weak big major minor
    a about above after again against all also although among an and another any are as at be because been before
    being below between both but by can could despite did do does during each either every few for from further had
    has have he her here his how however i if in instead into is it its itself just like many may meanwhile might more
    most much must no nor not now of off on once one only or other our out over own per same she should since so some
    such than that the their them then there therefore these they this those though through thus to too under until up
    very was we were what when where whether which while who whom whose why will with within without would yet you your
    der die das ein eine und oder mit von für auf im in den dem des zu zum zur bei nach aus ist sind war wird werden
    nicht auch sich es er sie el la los las un una y o con de del para por en se es son fue""",
    )
)
_COMMON_ENDING = re.compile(
    r"(?:ly|ing|ed|s|ion|ment|ity|ness|ive|ic|ous|[ae]nce|age|[ai]ble|al|er|or|ary|ory|ure|th|ship|ful|less|ee|ff|y)$"
)
"""How words end that are rarely names; without an article only a name or one of these begins a sentence, mostly."""
_OF_A_PLACE = re.compile(r"(?:ish|[ai]ns?|ese|i|ers?|ch)$")
_LONGEST_ACRONYM = 6
_WITHIN_NAMES = frozenset({"of", "and", "for", "the"})
_ALL_NOUNS_LARGE = frozenset({"de", "lb", "nds"})
LEAST_WORDS = 4
"""Words with a meaning from which their share is judged."""
LEAST_TAKEN = 2
"""Words that a sentence shares with a clause that it is taken from."""
_STEM, _ENDING = 4, 3
"""Letters two forms of a word share at least, and most letters in which they may differ at the end."""


class Support:
    """The passages of a brief, ready to be held against sentences."""

    def __init__(self, passages: Sequence[Passage], locale: str | None, wanted: CitationsSpec) -> None:
        """Take a brief's passages, the language that is written, and how strict to be."""
        self._passages, self._locale, self._wanted = passages, locale, wanted
        language = (locale or "").replace("_", "-").split("-")[0].casefold()
        self._only_marked = language in _ALL_NOUNS_LARGE

    @cached_property
    def _names(self) -> frozenset[str]:
        """Words that the brief uses as names: large in the middle of a sentence, and never small."""
        large = {word for passage in self._passages for word, begins in _words(_text_of(passage)) if not begins}
        small = {word for passage in self._passages for word, _ in _words(_text_of(passage)) if word[:1].islower()}
        return frozenset(_folded(word) for word in large if word[:1].isupper()) - {_folded(word) for word in small}

    def missing(self, text: str, cited: Sequence[Passage]) -> list[str]:
        """What a text says that the passages it cites do not, in words; nothing where they bear it out.

        Args:
            text: one or several sentences, plain (`guardrails.plain`).
            cited: the passages, with the headings above them.
        """
        sources = [_text_of(passage) for passage in cited]
        facts = BriefFacts(tuple(("passage", _with_digits(source)) for source in sources), self._locale)
        found = [f"{shown} (figure)" for shown in figures_beyond(_with_digits(text), facts)]
        found += [f"{shown} (date)" for shown in dates_beyond(text, sources)]
        known = {_folded(word) for source in sources for word, _ in _words(source)}
        found += [f"{name} (name)" for name in self._names_beyond(text, sources, known)]
        of_passages = [sentence for passage in cited for sentence in _SENTENCE.split(plain(passage.text))]
        for sentence in _SENTENCE.split(text):
            if self._wanted.directions == "block":
                found += turned_round(sentence, of_passages)
                found += self._negations(sentence, of_passages)
            found += self._share(sentence, known)
        return [shortened(one) for one in dict.fromkeys(found)]

    def _names_beyond(self, text: str, sources: Sequence[str], known: set[str]) -> Iterator[str]:
        words = list(_words(text))
        # "Keep in mind: ..." is a label before a sentence, and most labels begin with no name.
        label = _LABEL.match(text)
        n_label = len(list(_words(label[0]))) if label else 0
        acronyms = {acronym for source in sources for acronym in _acronyms(source)}
        large = {_folded(word) for source in sources for word, _ in _words(source) if word[:1].isupper()}
        parts = {part for word in known for part in re.split(r"[-/&.'’]", word)}
        for position, (word, begins) in enumerate(words):
            after = words[position + 1] if position + 1 < len(words) else ("", True)
            bare = _folded(word)
            if bare in known or bare in acronyms or bare in _FUNCTION_WORDS or bare in MONTH_OF:
                continue
            after_is_large = after[0][:1].isupper() and not after[1]
            if not self._is_name(word, begins=begins, is_followed=after_is_large, is_label=position < n_label):
                continue
            if all(part in parts for part in re.split(r"[-/&.'’]", bare)) or _is_of(bare, large):
                continue
            # Some form of a word that the passages have is no name, when it stands where every word is large.
            if not begins or after_is_large or not _matched({bare}, known):
                yield word

    def _is_name(self, word: str, *, begins: bool, is_followed: bool, is_label: bool) -> bool:
        if not any(char.isupper() for char in word):
            return False
        is_marked = any(char.isupper() for char in word[1:]) or (
            word[0].isupper() and any(char.isdigit() for char in word)
        )
        if is_marked or self._only_marked:
            return is_marked
        if begins:
            return _folded(word) in self._names or is_followed or (not is_label and _reads_as_a_name(word))
        return word[0].isupper() and len(word) > 1

    def _negations(self, sentence: str, of_passages: Sequence[str]) -> Iterator[str]:
        if denial := DENIAL.search(sentence):
            if not any(map(may_be_negated, of_passages)):
                yield f"{denial[0]}, which no passage does"
            return
        wanted = set(_content(sentence))
        for source in of_passages:
            for clause, noun in denied_clauses(source):
                of_clause = [word for word in _content(clause) if not is_negated(word)]
                matched = _matched(wanted, of_clause)
                most = min(len(wanted), len(of_clause))
                is_taken = len(matched) >= LEAST_TAKEN and len(matched) >= _NEAR * most
                if is_taken and not may_be_negated(sentence) and (not noun or _matched({_folded(noun)}, wanted)):
                    yield f"without a not what reads {clause!r}"

    def _shares_anything(self, sentence: str, known: set[str]) -> bool:
        words = {_folded(word) for word, _ in _words(_with_digits(sentence))} - _FUNCTION_WORDS
        digits = {_folded(word) for one in known for word, _ in _words(_with_digits(one))}
        return bool(words & (known | digits)) or bool(_matched(words, known))

    def _share(self, sentence: str, known: set[str]) -> Iterator[str]:
        wanted = [word for word in _content(sentence) if word not in self._names]
        if wanted and not self._shares_anything(sentence, known):
            yield "nothing of what it cites"
        if len(wanted) < LEAST_WORDS:
            return
        matched = _matched(set(wanted), known)
        share = sum(word in matched for word in wanted) / len(wanted)
        if share < self._wanted.support:
            yield f"little of what it cites ({share:.0%} of its words)"


_NEAR = 0.6
"""Share of a sentence's words that a passage's sentence has when the one is taken from the other."""


@lru_cache(maxsize=1_024)
def _text_of(passage: Passage) -> str:
    return plain(f"{passage.heading}\n{passage.text}")


# Cached, as what follows: all candidates of a brief are held against the same passages.
@lru_cache(maxsize=4_096)
def _words(text: str) -> tuple[tuple[str, bool], ...]:
    """The words of a text, without the ending of an owner, and whether each begins a sentence, a quote or a line."""
    found_words = []
    for found in _WORD.finditer(text):
        before = text[max(0, found.start() - 3) : found.start()]
        begins = found.start() == 0 or "\n" in before or _BEGINS.search(before) is not None
        found_words.append((_OWNER.sub("", found[0]), begins))
    return tuple(found_words)


def _folded(word: str) -> str:
    return word.casefold()


@lru_cache(maxsize=1_024)
def _content(text: str) -> tuple[str, ...]:
    """The words that carry meaning, each as often as it stands there."""
    return tuple(
        word
        for word in (_folded(word) for word, _ in _words(text))
        if len(word) >= _STEM and word not in _FUNCTION_WORDS and not any(char.isdigit() for char in word)
    )


def _matched(words: set[str], others: set[str] | Sequence[str]) -> set[str]:
    """Those of the words that stand among the others in some form."""
    by_stem: dict[str, list[str]] = {}
    for other in others:
        by_stem.setdefault(other[:_STEM], []).append(other)
    return {word for word in words if any(_same_word(word, other) for other in by_stem.get(word[:_STEM], ()))}


def _same_word(one: str, other: str) -> bool:
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    return shared >= max(_STEM, min(len(one), len(other)) - _ENDING)


def _reads_as_a_name(word: str) -> bool:
    return len(word) >= _STEM and not _COMMON_ENDING.search(word)


def _is_of(word: str, names: set[str]) -> bool:
    """Whether a word is made from one of the names: Polish of Poland, Canadian of Canada."""
    return _OF_A_PLACE.search(word) is not None and any(word[:3] == name[:3] for name in names)


@lru_cache(maxsize=1_024)
def _acronyms(text: str) -> frozenset[str]:
    """Initials of words that stand one after the other, in lower case: two or more large ones, or three of any kind.

    European Union -> eu, multi-factor authentication -> mfa; of "Bank of England" both boe and be.
    """
    words = [part for word, _ in _words(text) for part in word.split("-") if part]
    found: set[str] = set()
    for start in range(len(words)):
        run = words[start : start + _LONGEST_ACRONYM]
        initials = "".join(word[0].casefold() for word in run)
        found.update(initials[:end] for end in range(3, len(initials) + 1))
        large = itertools.takewhile(lambda word: word[0].isupper() or word in _WITHIN_NAMES, run)
        kept = "".join(word[0].casefold() for word in large if word not in _WITHIN_NAMES)
        found.update(kept[:end] for end in range(2, len(kept) + 1))
    return frozenset(found)


def _with_digits(text: str) -> str:
    return _NUMBER_WORD.sub(lambda found: str(_NUMBERS[found[0].casefold()]), text)
