"""Guardrails: each rule blocks what it is there for, lets its control pass, and says what it found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flywheel_pipelines.production.guardrails import blocked_reasons
from flywheel_pipelines.spec import GuardrailsSpec
from flywheel_pipelines_tests.production.written import brief, briefs, output, outputs, references

GERMAN = "Unsere Werkstatt hat am Samstag geöffnet, kommen Sie einfach vorbei und trinken Sie einen Kaffee mit uns."
ENGLISH = "Our garage is open on Saturday, just drop in and have a coffee with us while we change the oil."
SCHEMA = {
    "type": "object",
    "required": ["title"],
    "properties": {"title": {"type": "string", "maxLength": 9}, "parts": {"items": {"$ref": "#/$defs/part"}}},
    "$defs": {"part": {"type": "string"}},
}
OFF = {"links": "any", "claims": "any", "personal_data": "allow", "near_copy": None}


def reason(text: str, row: dict[str, Any] | None = None, **rules: Any) -> str | None:
    """The verdict on one text with one rule on."""
    guardrails = GuardrailsSpec.model_validate(OFF | rules)
    return blocked_reasons(outputs([output("a", text)]), briefs(row or brief()), (), guardrails, None)[0]


@pytest.mark.parametrize(
    ("rules", "bad", "said", "good"),
    [
        ({"min_characters": 10}, "Too short", "length: 9 characters, at least 10", "Long enough"),
        ({"max_characters": 10}, "Much too long", "length: 13 characters, at most 10", "Just right"),
        ({"language": "en"}, GERMAN, "language: reads as de, en is wanted", ENGLISH),
        ({"language": "brief"}, GERMAN, "language: reads as de, en is wanted", ENGLISH),
        ({"banned_phrases": ["act now"]}, "So ACT  Now!", "banned phrase: 'act now'", "Now act."),
        ({"banned_phrases": ["spam"]}, "No sp\u00adam, \uff53\uff50\uff41\uff4d", "banned phrase", "spammy"),
        ({"banned_phrases": ["100%"]}, "It is 100% so", "banned phrase", "It is 100 so"),
        ({"banned_phrases": ["免费"]}, "现在免费试用", "banned phrase", "现在试用"),
        ({"banned_phrases": ["straße"]}, "AUF DER STRASSE", "banned phrase", "AUF DER GASSE"),
        ({"required_phrases": ["opt out"]}, "Bye.", "required phrase missing: 'opt out'", "Opt\nout here."),
        ({"links": "from_brief"}, "See evil.com/x.", "link not in the brief: evil.com/x", "See you."),
        ({"claims": "from_brief"}, "Saves 40%.", "figure not in the brief: 40%", "Saves a lot."),
        ({"personal_data": "block"}, "Ask bob@evil.com", "personal data: e-mail address bob…", "Ask Bob"),
    ],
)
def test_a_rule_blocks_what_it_is_for_and_nothing_else(rules: dict[str, Any], bad: str, said: str, good: str) -> None:
    assert said in (reason(bad, **rules) or "")
    assert reason(good, **rules) is None
    assert reason(bad) is None, "without the rule it passes"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"title": "Oil"}, None),
        ({"title": "Oil", "parts": ["a"]}, None),
        ({"title": "Much too long"}, "schema: $.title 'Much too long' is too long"),
        ({"parts": []}, "schema: $ 'title' is a required property"),
        ({"title": "Oil", "parts": [1]}, "schema: $.parts[0] 1 is not of type 'string'"),
        (None, "schema: $ None is not of type 'object'"),
    ],
)
def test_content_keeps_to_the_schema(content: object, said: str | None) -> None:
    row = output("a", content=json.dumps(content) if content is not None else None)
    found = blocked_reasons(outputs([row]), briefs(brief()), (), GuardrailsSpec.model_validate(OFF), SCHEMA)
    assert found == [said]


def test_all_reasons_are_given_in_one_line() -> None:
    found = reason("Buy 3\nnow!", banned_phrases=["buy"], min_characters=50, claims="from_brief")
    assert found == ("length: 10 characters, at least 50 are wanted; banned phrase: 'buy'; figure not in the brief: 3")


def test_each_output_is_judged_by_its_own_brief() -> None:
    rows = [output("a", "Only 5 left."), output("b", "Only 5 left, hurry.", brief_id="b1")]
    found = blocked_reasons(
        outputs(rows), briefs(brief(stock=5), brief("b1", stock=6)), (), GuardrailsSpec(near_copy=None), None
    )
    assert found == [None, "figure not in the brief: 5"]


def test_what_the_brief_states_may_be_said() -> None:
    row = brief(site="https://www.acme.com/oil/", facts="Saves 40%, call +49 30 901820, ask bob@acme.com")
    text = "Save 40 %: acme.com/oil, +49 (30) 901820 or BOB@acme.com."
    rules: dict[str, Any] = {"links": "from_brief", "claims": "from_brief", "personal_data": "block"}
    assert reason(text, row, **rules) is None
    assert (reason(text, **rules) or "").count(";") == 2


def test_a_reason_repeats_no_personal_data() -> None:
    found = reason("Pay to DE89 3704 0044 0532 0130 00", personal_data="block") or ""
    assert "account number DE8…" in found
    assert "3704" not in found


@pytest.mark.parametrize("text", ["Kurz und gut.", "Öl? Ja!"])
def test_a_short_text_is_not_judged_by_its_language(text: str) -> None:
    assert reason(text, language="en") is None


@pytest.mark.parametrize("locale", ["de-AT", "de", "DE_ch", None, "xx"])
def test_the_language_of_the_brief_is_that_of_its_locale_and_without_one_any(locale: str | None) -> None:
    assert reason(GERMAN, brief(locale=locale), language="brief") is None


def test_a_near_copy_is_named_with_what_it_copies() -> None:
    rows = outputs([output("a", "Change your oil before the winter comes."), output("b", "Something else altogether.")])
    of = references(("garages", "Change your oil, before the winter comes!"))
    found = blocked_reasons(rows, briefs(brief()), of, GuardrailsSpec(near_copy=0.8), None)
    assert found == ["near copy: 0.89 like reference o1", None]


def test_an_output_that_is_blocked_anyway_makes_no_copies_of_others() -> None:
    same = "Change your oil before the winter comes."
    rows = outputs([output("a", f"{same} spam"), output("b", same)])
    rules = {"near_copy": 0.8, "banned_phrases": ["spam"]}
    found = blocked_reasons(rows, briefs(brief()), (), GuardrailsSpec.model_validate(rules), None)
    assert found == ["banned phrase: 'spam'", None]
