"""Writing by choices: from a brief and the options chosen to the pieces of a text.

Here: `compose` and the pieces it gives. Not here: where the choices come from (`writing`), reading them back
(`choices`), the wording (`phrases_*`), and how pieces become fields (`schema_filling`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from flywheel_pipelines.llm.offline.choices import (
    CHOICES,
    LOCALES,
    NO,
    PHRASES,
    YES,
    read_choices,
)
from flywheel_pipelines.llm.offline.phrases import Phrases, fill

__all__ = ["CHOICES", "LOCALES", "Draft", "WriterBrief", "compose", "draw_choices", "read_choices"]

N_OUTLINE, N_SUBJECTS = 8, 5
BODY_WORDS = {"short": (62, 84), "medium": (156, 170), "long": (242, 262)}
"""Fewest and most words of the sentences alone; title, summary, outline and subjects come on top (up to 65 words)."""
REPEATS = {"short": 1, "medium": 2, "long": 3}
"""Sentences that carry the benefit and the tone."""
SUBJECT_WORDS, NAME_WORDS, FACT_WORDS = 4, 3, 14


@dataclass(frozen=True)
class WriterBrief:
    """What is to be written about. Empty means that the brief does not say."""

    keyword: str = ""
    title: str = ""
    product: str = ""
    audience: str = ""
    facts: tuple[str, ...] = ()
    link: str = ""
    passages: tuple[tuple[str, str], ...] = ()
    """(id, text) of what may be cited."""


@dataclass(frozen=True)
class CitedStatement:
    """A sentence, and what it is taken from: the id of a passage and words of it, verbatim."""

    sentence: str
    passage: str
    quote: str


@dataclass(frozen=True)
class Draft:
    """The pieces of one text, from which the fields of any schema are filled.

    `choices` are those carried out: a number that the brief does not give cannot be named. `sentences` are the whole
    text in order: the opening first, the call to action last. `spare` are sentences for fields beyond that. `numbers`
    are fields of numbers to be drawn; `fills` says which piece other fields get. `cited` are the sentences with what
    they cite, where the grammar has statements.
    """

    locale: str
    choices: Mapping[str, str]
    title: str
    summary: str
    outline: tuple[str, ...]
    subjects: tuple[str, ...]
    greeting: str
    sentences: tuple[str, ...]
    spare: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    fills: Mapping[str, str] = field(default_factory=dict)
    cited: tuple[CitedStatement, ...] = ()

    @property
    def opening(self) -> str:
        """The first sentence."""
        return self.sentences[0]

    @property
    def call_to_action(self) -> str:
        """The last sentence."""
        return self.sentences[-1]

    @property
    def text(self) -> str:
        """All sentences, as one paragraph."""
        return " ".join(self.sentences)

    def parts(self, n: int) -> tuple[str, ...]:
        """The sentences in `n` consecutive parts of about equal number; past their number, spare sentences."""
        filled = min(n, len(self.sentences))
        bounds = [round(index * len(self.sentences) / max(filled, 1)) for index in range(filled + 1)]
        parts = [" ".join(self.sentences[start:end]) for start, end in pairwise(bounds)]
        parts += [self.spare[index % len(self.spare)] for index in range(n - filled)]
        return tuple(parts)

    def article(self) -> str:
        """The text as an article: title, summary, outline, body."""
        points = "\n".join(f"- {point}" for point in self.outline[:4])
        return "\n\n".join([self.title, self.summary, points, *self.parts(3)])

    def messages(self, n: int = 3) -> str:
        """The text as a sequence of messages with subjects."""
        subjects = (self.subjects[index % len(self.subjects)] for index in range(n))
        return "\n\n".join(
            f"{subject}\n{self.greeting}\n{part}" for subject, part in zip(subjects, self.parts(n), strict=True)
        )


def draw_choices(rng: random.Random) -> dict[str, str]:
    """One option of every choice, all equally likely."""
    return {choice: options[int(rng.random() * len(options))] for choice, options in CHOICES.items()}


def compose(choices: Mapping[str, str], brief: WriterBrief, rng: random.Random, locale: str = "en") -> Draft:
    """Write by the choices; those left out are drawn. The same arguments give the same draft.

    `read_choices` of the article, of the messages and of the text alone gives back the choices of the draft.

    Args:
        choices: choice -> option, out of CHOICES. has_number falls back to what the brief allows: figures come from
            its facts alone, and a keyword with digits is a number.
        brief: what to write about. Links come from it alone.
        rng: the source of every choice of words.
        locale: a language tag; languages that are not in LOCALES are written in English.

    Raises:
        ValueError: a choice or option that CHOICES does not have.
    """
    for choice, option in choices.items():
        if option not in CHOICES.get(choice, ()):
            raise ValueError(f"{choice}: {option} is no option; CHOICES has {CHOICES.get(choice, tuple(CHOICES))}.")
    language = locale.replace("_", "-").split("-")[0].casefold()
    language = language if language in PHRASES else "en"
    carried_out = {**draw_choices(rng), **choices}
    figures, facts = clauses_of(brief.facts)
    slots = slots_of(brief, PHRASES[language])
    if _has_digit(slots["s"]):
        carried_out["has_number"] = YES
    elif not figures:
        carried_out["has_number"] = NO
    if carried_out["has_number"] == NO:
        slots = _without_digits(slots, PHRASES[language])
    return _Composition(PHRASES[language], language, carried_out, slots, figures, facts, brief.link, rng).draft()


@dataclass
class _Composition:
    """One draft in the making."""

    phrases: Phrases
    locale: str
    choices: dict[str, str]
    slots: dict[str, str]
    figures: list[str]
    facts: list[str]
    link: str
    rng: random.Random

    def draft(self) -> Draft:
        phrases, choices, length = self.phrases, self.choices, self.choices["length"]
        opening = self._one(phrases.opening[choices["opening"]])
        ending = self._call_to_action()
        middle = self._some(phrases.benefit[choices["benefit"]], REPEATS[length])
        middle += self._some(phrases.tone[choices["tone"]], REPEATS[length])
        if choices["is_question"] == YES:
            middle += self._some(phrases.questions, 1 if length == "short" else 2)
        if choices["has_number"] == YES and self.figures:
            middle.append(self._stating(phrases.figures, self.figures))
        if self.facts and length != "short":
            middle.append(self._stating(phrases.facts, self.facts))
        spare = self._some(phrases.fillers, len(phrases.fillers))
        self._fill_up(middle, spare, *BODY_WORDS[length], _n_words([opening, ending, *middle]))
        self.rng.shuffle(middle)
        titles = phrases.titles[choices["benefit"]]
        asks = choices["is_question"] == YES and self.rng.random() < 0.5
        outline = self._some(phrases.outline, N_OUTLINE)
        return Draft(
            locale=self.locale,
            choices=choices,
            title=self._one(phrases.question_titles if asks else titles),
            summary=self._one(phrases.summaries),
            outline=tuple(outline),
            subjects=(*self._some(titles, 2), *outline[: N_SUBJECTS - 2]),
            greeting=self._one(phrases.greetings),
            sentences=(opening, *middle, ending),
            spare=tuple(spare),
        )

    def _fill_up(self, middle: list[str], spare: list[str], fewest: int, most: int, n_words: int) -> None:
        """Move sentences from `spare` to `middle` until there are enough words."""
        skipped = []
        while n_words < fewest and spare:
            sentence = spare.pop()
            added = _n_words([sentence])
            if n_words + added > most:
                skipped.append(sentence)
                continue
            middle.append(sentence)
            n_words += added
        spare.extend(skipped)

    def _call_to_action(self) -> str:
        sentence = self._one(self.phrases.call_to_action[self.choices["call_to_action"]])
        if not self.link or self.choices["call_to_action"] == "reply":
            return sentence
        # No full stop behind a link: it would become a part of it.
        return f"{sentence.rstrip('.')}: {self.link}"

    def _stating(self, templates: Sequence[str], facts: list[str]) -> str:
        fact = facts[int(self.rng.random() * len(facts))]
        return fill(self.rng.choice(templates), {**self.slots, "f": fact}, self.rng)

    def _one(self, templates: Sequence[str]) -> str:
        return fill(templates[int(self.rng.random() * len(templates))], self.slots, self.rng)

    def _some(self, templates: Sequence[str], n: int) -> list[str]:
        drawn = self.rng.sample(templates, min(n, len(templates)))
        return [fill(template, self.slots, self.rng) for template in drawn]


class StandIns(Protocol):
    """What stands for the subject, the product and the audience where a brief names none."""

    @property
    def subject(self) -> str: ...
    @property
    def product(self) -> str: ...
    @property
    def audience(self) -> str: ...


def slots_of(brief: WriterBrief, phrases: StandIns) -> dict[str, str]:
    """The slots of a template (`phrases`) as a brief fills them, but for its facts."""
    subject = _name(brief.keyword or brief.title, SUBJECT_WORDS) or phrases.subject
    product = _name(brief.product, NAME_WORDS) or phrases.product
    audience = _name(brief.audience, NAME_WORDS) or phrases.audience
    return {"s": subject, "S": _capital(subject), "p": product, "P": _capital(product), "a": audience}


def _without_digits(slots: dict[str, str], phrases: Phrases) -> dict[str, str]:
    product = phrases.product if _has_digit(slots["p"]) else slots["p"]
    audience = phrases.audience if _has_digit(slots["a"]) else slots["a"]
    return {**slots, "p": product, "P": _capital(product), "a": audience}


def clauses_of(facts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The clauses of the facts, short enough for a sentence: those with a figure, and those without."""
    figures: list[str] = []
    others: list[str] = []
    for fact in facts:
        # Only before white space: a decimal point ends nothing.
        for clause in re.split(r"[.;!?:]+(?:\s+|$)|\n", fact):
            words = _bare(clause).split()
            if len(words) < 2:
                continue
            at = next((index for index, word in enumerate(words) if _has_digit(word)), None)
            # The end of a long clause may hold the figure's unit, so the window reaches past the figure.
            start = 0 if at is None or at < FACT_WORDS - 3 else at - (FACT_WORDS - 4)
            shown = " ".join(words[start : start + FACT_WORDS]).strip(" ,-")
            (others if at is None else figures).append(shown)
    return figures, others


def _name(text: str, n_words: int) -> str:
    return " ".join(_bare(text).split()[:n_words])[:48].strip(" ,.;:-")


def _bare(text: str) -> str:
    """The text on one line, without marks that end a sentence, ask, link, or read as markup or as a slot."""
    without_links = re.sub(r"\b(?:https?://|www\.)\S+", " ", text)
    return " ".join(re.sub(r"[?¿!¡`{}<>|\"“”„«»#*\[\]]|\.(?=\s|$)", " ", without_links).split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


def _n_words(sentences: Sequence[str]) -> int:
    return sum(len(sentence.split()) for sentence in sentences)
