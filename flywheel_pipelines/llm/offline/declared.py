"""A grammar that a flywheel declares: writing by it, and reading it back.

Here: from a `GrammarSpec` to what the writer writes by. Not here: the keys of that file (`spec.grammar`).

A text has one sentence for every worded choice, in the order of the choices; facts and fillers stand before the last.
Choices that are fields of the output are carried out by the field alone. A text is read sentence by sentence, markup
taken out, by how its sentences begin in any language; where none of a choice is found, hints decide, as in `choices`.
"""

from __future__ import annotations

import html
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from flywheel_pipelines.llm.offline.grammar import CitedStatement, Draft, WriterBrief, clauses_of, slots_of
from flywheel_pipelines.llm.offline.grammars import Grammar
from flywheel_pipelines.llm.offline.phrases import fill
from flywheel_pipelines.spec.grammar import GrammarSpec, StatementsSpec, WordingSpec

_TAG = re.compile(r"<[^<>]*>")
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”»)]*\s+|\n+")
_AFTER_COLON = re.compile(r":\s+")
_DECORATION = " \t#*->\"'“„«»_(["
N_POINTS, N_SUBJECTS = 8, 5
N_FACTS = 1
LEAST_CITED, MOST_CITED = 4, 40
"""Words of a sentence that is cited."""
_SENTENCE_OF_A_PASSAGE = re.compile(r"(?<=[.!?])\s+")
_PARAGRAPH = re.compile(r"\n\s*\n")


def declared_grammar(spec: GrammarSpec) -> Grammar:
    """The grammar that a checked declaration describes."""
    made = _Declared(spec)
    return Grammar(spec.version, made.choices, made.read, made.compose, spec.choices)


class _Declared:
    """One declared grammar at work."""

    def __init__(self, spec: GrammarSpec) -> None:
        self.spec = spec
        self.choices: Mapping[str, tuple[str, ...]] = {name: tuple(one) for name, one in spec.choices.items()}
        # Per grammar: references are shown again and again, so what was read of them is kept.
        self._read = lru_cache(maxsize=8_192)(self._reading)

    # -- writing ------------------------------------------------------------------------------------------------------
    def compose(self, choices: Mapping[str, str], brief: WriterBrief, rng: random.Random, locale: str = "en") -> Draft:
        """Write by the choices; those left out are drawn. The same arguments give the same draft.

        Raises:
            ValueError: a choice or option that the grammar does not have.
        """
        for choice, option in choices.items():
            if option not in self.choices.get(choice, ()):
                raise ValueError(f"{choice}: {option} is no option of this grammar.")
        language = locale.replace("_", "-").split("-")[0].casefold()
        language = language if language in self.spec.locales else next(iter(self.spec.locales))
        wording = self.spec.locales[language]
        drawn = {name: options[int(rng.random() * len(options))] for name, options in self.choices.items()}
        carried_out = drawn | dict(choices)
        slots = slots_of(brief, wording)
        slots["P"] = slots["P"] or slots["S"]

        def some(templates: list[str], n: int) -> list[str]:
            return [fill(template, slots, rng) for template in rng.sample(templates, min(n, len(templates)))]

        if self.spec.statements is not None and brief.passages:
            return self._cited_draft(self.spec.statements, carried_out, brief, slots, language, rng)
        # Without passages there is nothing to cite: the statements then state the subject.
        slots["f"] = slots["S"]
        said = [some(wording.says[name][carried_out[name]], 1)[0] for name in self.spec.worded]
        fillers = some(wording.fillers, len(wording.fillers))
        middle = [*self._stated_facts(wording, brief, slots, rng), *fillers[: self.spec.n_fillers]]
        rng.shuffle(middle)
        ending = [f"{said[-1].rstrip('.')}: {brief.link}"] if brief.link and said else said[-1:]
        points = some(wording.points, N_POINTS)
        titles = some(wording.titles, len(wording.titles))
        return Draft(
            locale=language,
            choices=carried_out,
            title=titles[0],
            summary=some(wording.summaries, 1)[0],
            outline=tuple(points),
            subjects=tuple([*titles, *points][:N_SUBJECTS]),
            greeting=some(wording.greetings, 1)[0],
            sentences=(*said[:-1], *middle, *ending),
            spare=tuple(fillers[self.spec.n_fillers :] or fillers),
            numbers=tuple(self.spec.numbers),
            fills=self.spec.fills,
        )

    def _cited_draft(
        self,
        statements: StatementsSpec,
        choices: dict[str, str],
        brief: WriterBrief,
        slots: dict[str, str],
        language: str,
        rng: random.Random,
    ) -> Draft:
        """Statements from the brief's passages: what is chosen begins the first ones and the last."""
        wording = self.spec.locales[language]
        sources = cited_sentences(brief.passages, statements.order[choices["order"]])
        n = min(statements.length[choices["length"]], len(sources))
        *first, last = [wording.says[name][choices[name]] for name in self.spec.worded]
        templates = [*first, *[wording.facts] * (n - len(first) - 1), last][:n]
        cited = []
        for (passage, quote), said in zip(sources, templates, strict=False):
            sentence = fill(rng.choice(said), {**slots, "f": quote}, rng)
            cited.append(CitedStatement(sentence, passage, quote))
        sentences = tuple(one.sentence for one in cited)
        fillers = tuple(fill(template, slots, rng) for template in wording.fillers)
        title = fill(rng.choice(wording.titles), slots, rng)
        summary = fill(rng.choice(wording.summaries), slots, rng)
        points = tuple(fill(template, slots, rng) for template in wording.points)
        return Draft(
            locale=language,
            choices=choices,
            title=title,
            summary=summary,
            outline=points,
            subjects=points,
            greeting="",
            sentences=sentences,
            spare=fillers,
            numbers=tuple(self.spec.numbers),
            fills=self.spec.fills,
            cited=tuple(cited),
        )

    def _stated_facts(
        self, wording: WordingSpec, brief: WriterBrief, slots: Mapping[str, str], rng: random.Random
    ) -> list[str]:
        figures, others = clauses_of(brief.facts)
        facts = [*figures, *others]
        if not wording.facts or not facts:
            return []
        stated = rng.sample(facts, min(N_FACTS, len(facts)))
        return [fill(rng.choice(wording.facts), {**slots, "f": fact}, rng) for fact in stated]

    # -- reading ------------------------------------------------------------------------------------------------------
    def read(self, text: str) -> dict[str, str]:
        """Which options a text carries out, from the text alone; a choice that does not show is left out."""
        return dict(self._read(text))

    def _reading(self, text: str) -> tuple[tuple[str, str], ...]:
        plain = html.unescape(_TAG.sub("\n", text)).casefold()
        seen: dict[str, Counter[str]] = {name: Counter() for name in self.choices}
        for sentence in _sentences(plain):
            if stated := self._stated.get(sentence):
                seen[stated[0]][stated[1]] += 1
                continue
            for beginning, name, option in self._stems.get(sentence[:_KEY], ()):
                if sentence.startswith(beginning):
                    seen[name][option] += 1
        found = {name: counts.most_common(1)[0][0] for name, counts in seen.items() if counts}
        for name in self.spec.worded.keys() - found.keys():
            if (option := self._hinted(name, plain)) is not None:
                found[name] = option
        if self.spec.statements is not None:
            n = sum(bool(part.strip()) for part in _PARAGRAPH.split(text))
            lengths = self.spec.statements.length
            found["length"] = min(lengths, key=lambda option: abs(lengths[option] - n))
        return tuple((name, found[name]) for name in self.choices if name in found)

    def _hinted(self, name: str, text: str) -> str | None:
        counts = Counter[str]()
        for wording in self.spec.locales.values():
            for option, pattern in wording.hints.get(name, {}).items():
                counts[option] += len(re.findall(pattern, text, re.IGNORECASE))
        best = counts.most_common(2)
        is_clear = bool(best) and best[0][1] > 0 and (len(best) == 1 or best[0][1] > best[1][1])
        return best[0][0] if is_clear else None

    @cached_property
    def _stated(self) -> dict[str, tuple[str, str]]:
        """Choice and option by the option's name, of the choices that fields state."""
        return {option: (name, option) for name in self.spec.fields for option in self.choices[name]}

    @cached_property
    def _stems(self) -> dict[str, list[tuple[str, str, str]]]:
        """(beginning of a sentence, choice, option) by the first letters of the beginning."""
        stems: dict[str, list[tuple[str, str, str]]] = {}
        for _, beginning, (name, option) in self.spec.stems():
            stems.setdefault(beginning[:_KEY], []).append((beginning, name, option))
        return stems


def cited_sentences(passages: Sequence[tuple[str, str]], order: str) -> list[tuple[str, str]]:
    """(id of the passage, sentence of it, verbatim) in an order: forwards, backwards or figures_first."""
    found = [(name, one) for name, text in passages for one in _SENTENCE_OF_A_PASSAGE.split(text)]
    found = [(name, _shortened(one)) for name, one in found if len(one.split()) >= LEAST_CITED] or [
        (name, _shortened(text)) for name, text in passages
    ]
    if order == "backwards":
        return found[::-1]
    return found if order == "forwards" else sorted(found, key=lambda one: not any(map(str.isdigit, one[1])))


def _shortened(sentence: str) -> str:
    return " ".join(sentence.split()[:MOST_CITED])


_KEY = 4
"""Letters by which stems are looked up; no declared stem is shorter (`spec.grammar.LEAST_STEM`)."""


def _sentences(text: str) -> Iterator[str]:
    """Each sentence, without bullets and quotes, and what follows its colons: labels stand before what they label."""
    for sentence in _SENTENCE.split(text):
        bare = sentence.lstrip(_DECORATION).strip()
        yield bare
        yield from (bare[colon.end() :].lstrip(_DECORATION) for colon in _AFTER_COLON.finditer(bare))
