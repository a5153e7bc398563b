"""What is written by choices can be read back."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from itertools import combinations, product
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.llm.offline.choices import PHRASES, WORDED
from flywheel_pipelines.llm.offline.grammar import CHOICES, LOCALES, WriterBrief, compose, draw_choices, read_choices
from flywheel_pipelines.llm.offline.phrases import stem
from flywheel_pipelines.similarity import text_similarity

BRIEF = WriterBrief(
    keyword="warehouse labelling",
    title="Labels that last",
    product="Etikett Pro",
    audience="small warehouses",
    facts=("Labels hold for 12 years. Tested in cold rooms", "delivered in reels"),
    link="https://shop.example/labels?id=7",
)
choices = st.fixed_dictionaries({choice: st.sampled_from(options) for choice, options in CHOICES.items()})
words = st.lists(st.text(alphabet="abcdefghijklmnopäñ?!.,:()'-|{}`", min_size=1, max_size=12), max_size=8).map(" ".join)
briefs = st.builds(
    WriterBrief,
    keyword=words,
    title=words,
    product=words,
    audience=words,
    facts=st.lists(st.one_of(words, st.just("it held for 12.5 years in a test")), max_size=3).map(tuple),
    link=st.sampled_from(["", "https://shop.example/labels?id=7"]),
)


@pytest.mark.parametrize("form", ["article", "messages"])
@pytest.mark.parametrize("locale", LOCALES)
@given(chosen=choices, brief=briefs, seed=st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_what_was_chosen_is_read_back(
    form: str, locale: str, chosen: dict[str, str], brief: WriterBrief, seed: int
) -> None:
    draft = compose(chosen, brief, random.Random(seed), locale)
    if not any(character.isdigit() for fact in brief.facts for character in fact):
        chosen = {**chosen, "has_number": "no"}
    assert read_choices(getattr(draft, form)()) == chosen


@given(chosen=choices, seed=st.integers(0, 2**31), locale=st.sampled_from(LOCALES))
@settings(max_examples=100, deadline=None)
def test_the_sentences_alone_say_it_too(chosen: dict[str, str], seed: int, locale: str) -> None:
    assert read_choices(compose(chosen, BRIEF, random.Random(seed), locale).text) == chosen


def test_control_another_choice_reads_otherwise() -> None:
    draft = compose({"tone": "warm", "opening": "scene"}, BRIEF, random.Random(1))
    assert read_choices(draft.text)["tone"] != "bold"


def wordings(templates: Iterable[str]) -> Iterator[str]:
    """Every way in which the templates can be worded, slots left open."""
    for template in templates:
        parts = re.split(r"\(([^()]*)\)", template)
        yield from map(
            "".join, product(*(part.split("|") if place % 2 else [part] for place, part in enumerate(parts)))
        )


def test_control_a_shared_beginning_behind_an_alternative_is_seen() -> None:
    assert list(wordings(["(Check|See) the end of {s}."])) == ["Check the end of {s}.", "See the end of {s}."]


@pytest.mark.parametrize("locale", LOCALES)
def test_no_beginning_of_a_sentence_is_shared(locale: str) -> None:
    """Otherwise a text would be read as carrying out what it does not."""
    phrases = PHRASES[locale]
    marked = [
        (stem(template), choice, option)
        for choice in WORDED
        for option, templates in getattr(phrases, choice).items()
        for template in templates
    ]
    rest = phrases.questions + phrases.figures + phrases.facts + phrases.fillers + phrases.summaries + phrases.outline
    rest += phrases.question_titles + phrases.greetings + tuple(t for ts in phrases.titles.values() for t in ts)
    assert all(len(beginning) >= 8 for beginning, _, _ in marked)
    clashes = [
        (a, b)
        for a, b in combinations(marked, 2)
        if a[1:] != b[1:] and (a[0].startswith(b[0]) or b[0].startswith(a[0]))
    ]
    clashes += [(a, other) for a in marked for other in wordings(rest) if other.casefold().startswith(a[0])]
    assert clashes == []


@pytest.mark.parametrize("locale", LOCALES)
def test_every_option_has_its_wording(locale: str) -> None:
    for choice in WORDED:
        assert tuple(getattr(PHRASES[locale], choice)) == CHOICES[choice]
        assert tuple(PHRASES[locale].cues[choice]) == CHOICES[choice]


@given(chosen=choices, seed=st.integers(0, 2**31), locale=st.sampled_from(LOCALES))
@settings(max_examples=100, deadline=None)
def test_figures_and_links_come_from_the_brief_alone(chosen: dict[str, str], seed: int, locale: str) -> None:
    draft = compose(chosen, BRIEF, random.Random(seed), locale)
    text = "\n".join([draft.article(), draft.messages(), *draft.spare, *draft.outline])
    assert set(re.findall(r"https?://\S+", text)) <= {BRIEF.link}
    assert set(re.findall(r"\d+", text.replace(BRIEF.link, ""))) <= {"12"}


@pytest.mark.parametrize("locale", LOCALES)
def test_the_subject_is_named(locale: str) -> None:
    for seed in range(50):
        draft = compose({}, BRIEF, random.Random(seed), locale)
        assert BRIEF.keyword in draft.text.casefold()
        assert BRIEF.keyword in draft.title.casefold() or "?" in draft.title


@pytest.mark.parametrize("length", CHOICES["length"])
@pytest.mark.parametrize("locale", LOCALES)
def test_two_outputs_with_the_same_choices_are_no_copies(locale: str, length: str) -> None:
    chosen = {**draw_choices(random.Random(5)), "length": length, "has_number": "yes"}
    texts = [compose(chosen, BRIEF, random.Random(seed), locale).article() for seed in range(30)]
    alike = [text_similarity(first, second) for first, second in combinations(texts, 2)]
    assert mean(value >= 0.9 for value in alike) < 0.01


def test_the_same_arguments_give_the_same_draft() -> None:
    assert compose({}, BRIEF, random.Random(3), "de") == compose({}, BRIEF, random.Random(3), "de")


def test_other_languages_are_written_in_english() -> None:
    assert compose({}, BRIEF, random.Random(3), "fr-FR").locale == "en"
    assert compose({}, BRIEF, random.Random(3), "de-AT").locale == "de"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="tone: loud"):
        compose({"tone": "loud"}, BRIEF, random.Random(3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Could you save hours with our free trial?",
            {"is_question": "yes", "benefit": "time", "call_to_action": "trial"},
        ),
        ("Sie sparen Geld, rufen Sie an", {"benefit": "cost", "call_to_action": "call", "is_question": "no"}),
        ("Menos riesgos. Descargue la guía", {"benefit": "risk", "call_to_action": "guide"}),
        ("7 things you should know", {"has_number": "yes", "length": "short"}),
        ("see https://shop.example/7?x=1", {"has_number": "no", "is_question": "no"}),
    ],
)
def test_texts_of_others_are_guessed(text: str, expected: dict[str, str]) -> None:
    assert expected.items() <= read_choices(text).items()


def test_what_cannot_be_told_is_left_out() -> None:
    assert set(read_choices("Lorem ipsum dolor")) == {"length", "is_question", "has_number"}
    assert read_choices("  ") == {}
