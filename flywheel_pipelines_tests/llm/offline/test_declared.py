"""Grammars that a flywheel declares: what is chosen can be read back, and what could not be is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.llm.offline.answering import RequestError, chat_completion
from flywheel_pipelines.llm.offline.declared import declared_grammar
from flywheel_pipelines.llm.offline.grammar import WriterBrief
from flywheel_pipelines.llm.offline.grammars import PARAMETER, make_known
from flywheel_pipelines.llm.offline.prompt_reading import choices_ordered
from flywheel_pipelines.passages import Passage, passage_lines
from flywheel_pipelines.recipe_book import find_recipes
from flywheel_pipelines.spec import AudienceSpec, GrammarSpec, load_section
from flywheel_pipelines_tests.llm.offline.prompts import body_of
from flywheel_pipelines_tests.recipe_world import EIGHTH

FOLDERS = [recipe.folder for recipe in [*find_recipes(), EIGHTH] if (recipe.folder / "grammar.yaml").exists()]
DECLARED = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
CITING = next(folder for folder in FOLDERS if folder.name == "knowledge_briefs")
DOCUMENT = yaml.safe_load((EIGHTH.folder / "grammar.yaml").read_text(encoding="utf-8"))
AUDIENCE = yaml.safe_load((EIGHTH.folder / "audience.yaml").read_text(encoding="utf-8"))
BRIEF = WriterBrief(
    keyword="warehouse labelling",
    title="Labels that last",
    product="Etikett Pro",
    facts=("Labels hold for 12 years. Tested in cold rooms",),
    link="https://shop.example/labels?id=7",
    passages=tuple((f"a.md#b/{n}", f"Hall {n} holds {n} pallets. It is {n} metres high.") for n in range(1, 6)),
)


def grammar_in(folder: Path) -> GrammarSpec:
    return load_section(GrammarSpec, folder / "grammar.yaml")


@DECLARED
@given(seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_what_was_chosen_is_read_back_in_every_language(folder: Path, seed: int) -> None:
    spec = grammar_in(folder)
    grammar, rng = declared_grammar(spec), random.Random(seed)
    for locale in spec.locales:
        chosen = {name: rng.choice(options) for name, options in grammar.choices.items()}
        draft = grammar.compose(chosen, BRIEF, rng, locale)
        stated = "\n".join(chosen[name] for name in spec.fields)
        if spec.statements is not None:
            assert [one.sentence for one in draft.cited] == list(draft.sentences)
            assert grammar.read("\n\n".join(draft.sentences)) == chosen
            continue
        as_html = "".join(f"<p>{sentence.replace('&', '&amp;')}</p>" for sentence in draft.sentences)
        for text in (draft.text, "\n\n".join([draft.title, draft.summary, *draft.parts(3)]), as_html):
            assert grammar.read(f"{stated}\n\n{text}") == chosen


def test_every_statement_cites_words_of_a_passage_in_the_order_that_is_chosen() -> None:
    grammar = declared_grammar(grammar_in(CITING))
    texts, rng = dict(BRIEF.passages), random.Random(7)
    for order, first in (("as_written", "a.md#b/1"), ("from_the_end", "a.md#b/5")):
        draft = grammar.compose({"order": order, "length": "full"}, BRIEF, rng, "en")
        assert draft.cited[0].passage == first
        assert len(draft.cited) == 6
        for one in draft.cited:
            assert one.quote in texts[one.passage]
            assert one.quote in one.sentence


def test_an_answer_by_a_schema_of_statements_has_each_with_its_citation() -> None:
    spec = grammar_in(CITING)
    make_known(declared_grammar(spec))
    schema = json.loads((CITING / "schemas" / "summary.json").read_text(encoding="utf-8"))
    lines = passage_lines(Passage(name, "", text) for name, text in BRIEF.passages).replace("\n", "\n  ")
    body = {
        "model": "offline-writer",
        "messages": [{"role": "user", "content": f"# Brief\n\n```brief\ntitle: Halls\npassages: {lines}\n```"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}},
        PARAMETER: spec.version,
    }
    answer = json.loads(chat_completion(body)["choices"][0]["message"]["content"])
    jsonschema.validate(answer, schema)
    texts = dict(BRIEF.passages)
    for statement in answer["statements"]:
        [citation] = statement["citations"]
        assert citation["quote"] in texts[citation["passage"]]
        assert citation["quote"] in statement["sentence"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("statements/length", {"brief": 2, "medium": 4, "full": 6}, "found 2, but 3 choices begin a statement each"),
        ("statements/length", {"brief": 3, "medium": 3, "full": 6}, "cannot be told apart"),
        ("statements/length", {"brief": 3, "medium": 4}, "statements.length: nothing for full"),
        ("statements/order/figures", "upwards", "statements.order.figures"),
        ("locales/en/facts", [], "locales.en.facts: missing"),
        ("locales/en/says/closing/watch", ["To be watched."], "states nothing"),
        ("fields", ["length"], "no field of that name"),
    ],
)
def test_statements_that_could_not_be_written_or_read_are_refused(
    tmp_path: Path, path: str, value: Any, words: str
) -> None:
    document = yaml.safe_load((CITING / "grammar.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "grammar.yaml"
    file.write_text(yaml.safe_dump(changed(document, path, value), sort_keys=False), encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        load_section(GrammarSpec, file)
    assert words in str(refused.value)


def test_keys_that_a_grammar_does_not_use_leave_its_version_as_it_is() -> None:
    """Requests name it; another version would be another request, and another answer."""
    spec, citing = grammar_in(EIGHTH.folder), grammar_in(CITING)
    without = spec.model_dump_json(exclude={"statements"}).encode()
    assert spec.version == hashlib.sha256(without).hexdigest()[:16]
    assert citing.version != citing.model_copy(update={"statements": None}).version


@DECLARED
def test_every_option_is_ordered_by_its_sentence(folder: Path) -> None:
    grammar = declared_grammar(grammar_in(folder))
    for choice, options in grammar.sentences.items():
        for option, sentence in options.items():
            assert choices_ordered(f"# Guidelines\n\n1. {sentence}", grammar).get(choice) == option


def test_texts_of_others_are_read_by_hints_and_by_nothing_else() -> None:
    document = copy.deepcopy(DOCUMENT)
    hints = {"seat": r"\breserve\b", "friend": r"\bfriends?\b", "question": r"\?"}
    document["locales"]["en"]["hints"] = {"ask": hints}
    grammar = declared_grammar(GrammarSpec.model_validate(document))
    assert grammar.read("You may want to reserve early.") == {"ask": "seat"}
    assert grammar.read("Reserve for a friend!") == {}
    assert grammar.read("Anything else.") == {}


def test_an_answer_is_written_by_the_grammar_that_the_request_names() -> None:
    spec = grammar_in(EIGHTH.folder)
    grammar = declared_grammar(spec)
    body = body_of(seed=3) | {PARAMETER: spec.version}
    make_known(grammar)
    content = chat_completion(body)["choices"][0]["message"]["content"]
    assert grammar.read(yaml.safe_load(content)["body"]).keys() == grammar.choices.keys()
    plain = chat_completion(body_of(seed=3))["choices"][0]["message"]["content"]
    assert grammar.read(yaml.safe_load(plain)["body"]) == {}


def test_a_grammar_that_nobody_told_of_is_refused() -> None:
    with pytest.raises(RequestError, match="was not told of"):
        chat_completion(body_of() | {PARAMETER: "0123456789abcdef"})


def test_another_wording_is_another_version() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["locales"]["en"]["fillers"].append("One more.")
    assert GrammarSpec.model_validate(document).version != GrammarSpec.model_validate(DOCUMENT).version


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    found: Any = copy.deepcopy(document)
    inner = found
    *steps, last = path.split("/")
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("locales/en/says/ask", {"seat": ["Reserve it."]}, "locales.en.says.ask: nothing for friend, question"),
        ("locales/en/says/asks", {}, "asks is none of opening, proof, ask"),
        ("choices/ask", {"seat": "Ask."}, "a choice needs two or more"),
        ("locales/en/says/ask/friend", ["Reserve a seat for a friend."], "begins as locales.en.says.ask.friend does"),
        ("locales/en/says/ask/friend", ["{S} with a friend."], "too short a beginning"),
        ("locales/en/fillers", ["Bring a friend, and tea."], "which carries out an option"),
        ("locales/en/hints", {"ask": {"seat": "(", "friend": "a", "question": "b"}}, "no regular expression"),
        ("fields", ["tone"], "'tone' is not one of the choices"),
        ("colour", "green", "unknown key"),
        ("n_fillers", "many", "key n_fillers: found 'many'"),
    ],
)
def test_a_grammar_that_could_not_be_read_back_is_refused(tmp_path: Path, path: str, value: Any, words: str) -> None:
    file = tmp_path / "grammar.yaml"
    file.write_text(yaml.safe_dump(changed(DOCUMENT, path, value), sort_keys=False), encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        load_section(GrammarSpec, file)
    assert str(file) in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("traffic/0/responses/0/base_rate", 1.5, "base_rate"),
        ("traffic/0/responses/0/measure", "page_views", "counted twice"),
        ("traffic/0/responses/0/late", [0.6, 0.5], "below 1"),
        ("traffic/0/days", [0, 0, 0, 0, 0, 0, 0], "no day has any traffic"),
        ("traffic", [], "traffic"),
        ("effects", {"luck": 1}, "unknown key"),
    ],
)
def test_an_audience_that_cannot_be_is_refused(tmp_path: Path, path: str, value: Any, words: str) -> None:
    file = tmp_path / "audience.yaml"
    file.write_text(yaml.safe_dump(changed(AUDIENCE, path, value)), encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        load_section(AudienceSpec, file)
    assert words in str(refused.value)


def test_control_the_files_as_they_are_can_be_used(tmp_path: Path) -> None:
    assert GrammarSpec.model_validate(DOCUMENT)
    assert AudienceSpec.model_validate(AUDIENCE).measures == ["page_views", "sign_ups"]
