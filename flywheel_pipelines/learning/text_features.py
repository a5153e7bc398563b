"""Turning a text into numbers: word and character n-grams weighted by TF-IDF, and a few dozen named style features.

Here: tokenising, the style features and their word lists, and `TermBlock` (a vocabulary with its weights).
Not here: anything that has seen an outcome. That is `text_model`. The word lists are short, general English and
deliberately readable: each is one guess about style that the ridge is free to ignore.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise, repeat
from typing import NamedTuple

import numpy as np
from scipy import sparse

Doc = tuple[str, str]
"""(segment, text)."""

_TOKEN = re.compile(r"\w[\w']*|[?!]")
_WORD = re.compile(r"[A-Za-z][A-Za-z']*|\d+")
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]”’]*\s+")

WORD_LISTS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "second_person": "you your you're you'll yourself you've yours you'd",
        "first_person": "i my me we our us i'm i'd i've we're myself ours mine",
        "he": "he his him he's himself",
        "she": "she her she's hers herself",
        "they": "they their them they're themselves",
        "demonstrative": "this these that those here here's it it's",
        "question_word": "what why how who when where which what's who's whose",
        "negation": "no not never nothing nobody none without don't doesn't can't won't isn't wasn't didn't aren't "
        "couldn't shouldn't wouldn't ain't haven't",
        "absolute": "all always every everyone everything only ever never entire whole most best worst biggest",
        "hedge": "maybe might could probably perhaps seems almost guess think thought sometimes kinda",
        "withheld": "something someone thing things reason reasons secret happens happened way one until turns wait",
        "intensity": "just really actually literally totally so very pretty simply exactly even",
        "media": "watch see look video photo photos pictures map chart song ad commercial clip",
        "emotion_up": "love beautiful amazing happy awesome brilliant hilarious perfect incredible hope great joy",
        "emotion_down": "hate sad angry terrible awful horrible scary afraid fear disgust ugly cry crying hurt wrong",
        "conflict": "war fight kill killed death die dead gun violence attack hit abuse victim police crime",
        "people": "man woman guy girl boy mom dad kid kids child children baby mother father family people men women",
        "now": "now today year years day days minute minutes second seconds later",
    }.items()
}
_SHAPE_FEATURES = (
    "characters", "characters_squared", "log_words", "word_length", "sentences", "last_sentence_words", "question",
    "exclamation", "quotation", "digit", "colon", "commas", "ellipsis", "parenthesis", "ends_with_full_stop",
    "starts_with_question_word", "starts_with_demonstrative", "starts_with_digit", "shouted_words", "capitalised_share",
)  # fmt: skip
STYLE_FEATURES: tuple[str, ...] = (*_SHAPE_FEATURES, *WORD_LISTS)
"""Column names of `style_matrix`, in order."""


def _straight(text: str) -> str:
    return text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')


@lru_cache(maxsize=65_536)
def _style(text: str) -> tuple[float, ...]:
    text = _straight(text).strip()
    words = _WORD.findall(text)
    lowered = [word.lower() for word in words]
    first = lowered[0] if lowered else ""
    sentences = [part for part in _SENTENCE_END.split(text) if part]
    n = max(len(words), 1)
    shape = (
        len(text) / 50,
        (len(text) / 50) ** 2,
        float(np.log(n)),
        sum(map(len, words)) / n,
        len(sentences),
        len(sentences[-1].split()) if sentences else 0,
        "?" in text,
        "!" in text,
        '"' in text,
        any(char.isdigit() for char in text),
        ":" in text,
        text.count(","),
        "..." in text or "…" in text,
        "(" in text,
        text.endswith("."),
        first in WORD_LISTS["question_word"],
        first in WORD_LISTS["demonstrative"],
        first.isdigit(),
        sum(len(word) > 1 and word.isupper() for word in words),
        sum(word[0].isupper() for word in words) / n,
    )
    lists = (sum(word in members for word in lowered) for members in WORD_LISTS.values())
    return (*map(float, shape), *map(float, lists))


def style_matrix(texts: Sequence[str]) -> np.ndarray:
    """Raw style features, shape (n texts, n STYLE_FEATURES), float64, not standardised."""
    return np.array([_style(text) for text in texts], dtype=np.float64).reshape(len(texts), len(STYLE_FEATURES))


@lru_cache(maxsize=65_536)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(_straight(text).lower()))


class Counts(NamedTuple):
    """Terms of a document in the order they first come up, and how often each does.

    Two tuples and not a dictionary: these are kept for every document of a window, and with one dictionary each a
    year of letters took half a gigabyte. Equal terms of different documents are one object.
    """

    terms: tuple[str, ...]
    times: tuple[int, ...]


def _counted(terms: Iterable[str]) -> Counts:
    counts = Counter(terms)
    return Counts(tuple(map(sys.intern, counts)), tuple(counts.values()))


@lru_cache(maxsize=65_536)
def _runs(word: str) -> tuple[str, ...]:
    """The runs of 3 to 5 characters of one padded word; the word itself once it is no longer than a run."""
    runs: list[str] = []
    for size in (3, 4, 5):
        if len(word) <= size:
            return (*runs, word)
        runs += [word[start : start + size] for start in range(len(word) - size + 1)]
    return tuple(runs)


@lru_cache(maxsize=65_536)
def _char_counts(text: str) -> Counts:
    return _counted(chain.from_iterable(_runs(f" {word} ") for word in _straight(text).lower().split()))


@lru_cache(maxsize=65_536)
def _word_counts(text: str) -> Counts:
    tokens = _tokens(text)
    return _counted((*tokens, *(f"{left} {right}" for left, right in pairwise(tokens))))


def word_counts(doc: Doc) -> Counts:
    """Words and pairs of neighbouring words, lower case; `?` and `!` count as words."""
    return _word_counts(doc[1])


def char_counts(doc: Doc) -> Counts:
    """Runs of 3 to 5 characters inside each word, padded with a blank, so that endings and stems are shared."""
    return _char_counts(doc[1])


@lru_cache(maxsize=65_536)
def segment_word_counts(doc: Doc) -> Counts:
    """Words crossed with the segment: what a word does in this segment beyond what it does everywhere."""
    return _counted(f"{doc[0]} » {token}" for token in _tokens(doc[1]))


COUNTERS: dict[str, Callable[[Doc], Counts]] = {
    "words": word_counts,
    "chars": char_counts,
    "segment_words": segment_word_counts,
}


@dataclass(frozen=True, eq=False)
class TermBlock:
    """One family of terms: its vocabulary (sorted) and inverse document frequencies (float32)."""

    kind: str
    terms: tuple[str, ...]
    idf: np.ndarray

    @classmethod
    def fit(cls, kind: str, docs: Sequence[Doc], *, min_docs: int, max_terms: int) -> TermBlock:
        """Learn vocabulary and weights from distinct documents.

        Terms in fewer than `min_docs` documents are dropped; of the rest the `max_terms` most frequent stay (ties by
        spelling, so that the result depends on the set of documents only). idf = ln((1 + n) / (1 + df)) + 1, the
        smoothed form of scikit-learn.
        """
        frequency: Counter[str] = Counter()
        for doc in docs:
            frequency.update(COUNTERS[kind](doc).terms)
        kept = sorted((-count, term) for term, count in frequency.items() if count >= min_docs)[:max_terms]
        terms = tuple(sorted(term for _, term in kept))
        df = np.array([frequency[term] for term in terms], dtype=np.float64)
        return cls(kind, terms, (np.log((1 + len(docs)) / (1 + df)) + 1).astype(np.float32))

    def transform(self, docs: Sequence[Doc]) -> sparse.csr_matrix:
        """Rows of (1 + ln count) * idf scaled to length 1 (or zero, no term known); shape (n docs, n terms)."""
        index = {term: position for position, term in enumerate(self.terms)}
        counts = [COUNTERS[self.kind](doc) for doc in docs]
        # One pass in C over all terms, then the unknown ones are dropped: a loop here is most of a refit's time.
        terms = chain.from_iterable(each.terms for each in counts)
        found = np.fromiter(map(index.get, terms, repeat(-1)), dtype=np.int32)
        times = np.fromiter(chain.from_iterable(each.times for each in counts), dtype=np.float64)
        row = np.repeat(np.arange(len(docs)), [len(each.terms) for each in counts])
        known = found >= 0
        weights = (1 + np.log(times[known])) * self.idf.astype(np.float64)[found[known]]
        matrix = sparse.csr_matrix((weights, (row[known], found[known])), shape=(len(docs), len(self.terms)))
        matrix.sort_indices()
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.where(length > 0, length, 1.0)) @ matrix)
