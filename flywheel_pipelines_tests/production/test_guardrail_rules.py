"""How the single guardrails read texts: figures by locale, links, personal data, near-copies."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.personal_data import is_iban, passes_luhn, personal_data_in
from flywheel_pipelines.production.guardrails.brief_facts import BriefFacts
from flywheel_pipelines.production.guardrails.copies import near_copies
from flywheel_pipelines.production.guardrails.figures import figures_in, invented_figures
from flywheel_pipelines.production.guardrails.links import foreign_links, links_in
from flywheel_pipelines.prompt_text import Reference
from flywheel_pipelines.similarity import text_similarity
from flywheel_pipelines_tests.production.written import brief, output


def facts(locale: str | None = "en", **fields: Any) -> BriefFacts:
    return BriefFacts.of(brief(locale=locale, **fields))


# -- figures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "locale", "value", "unit"),
    [
        ("1,234.5", "en", "1234.5", None),
        ("1.234,5", "de", "1234.5", None),
        ("1.234", "de", "1234", None),
        ("1.234", "en", "1.234", None),
        ("1,234", "en", "1234", None),
        ("1,234", "fr", "1.234", None),
        ("1 234,5", "fr", "1234.5", None),
        ("1'234.5", "de-CH", "1234.5", None),
        ("1,5", "en", "1.5", None),
        ("1.234.567", "en", "1234567", None),
        ("0.125", "de", "0.125", None),
        ("20 Prozent", "de", "20", "%"),
        ("20-percent", "en", "20", "%"),
        ("$1.5k", "en", "1500", "$"),
        ("EUR 30", "en", "30", "€"),
        ("30 euros", "en", "30", "€"),
        ("3 million", "en", "3000000", None),
        ("2,5 Mio. €", "de", "2500000", "€"),
        ("٤٥", "ar", "45", None),
    ],
)
def test_a_figure_is_read_as_its_locale_writes_it(text: str, locale: str, value: str, unit: str | None) -> None:
    figure = next(iter(figures_in(text, locale)))
    assert (figure.readings, figure.unit) == (frozenset({Decimal(value)}), unit)


def test_without_a_locale_an_ambiguous_separator_is_read_both_ways() -> None:
    assert next(iter(figures_in("1.234", None))).readings == {Decimal("1.234"), Decimal(1234)}


@pytest.mark.parametrize("text", ["B2B and mp3", "1. First\n2) second\n(3) third", "no numbers", "see acme.com/2026"])
def test_names_list_numbers_and_links_hold_no_figures(text: str) -> None:
    assert list(figures_in(text, "en")) == []


@pytest.mark.parametrize(
    ("stated", "said", "ok"),
    [
        ("1,200 garages", "1200 garages", True),
        ("1,200 garages", "1,300 garages", False),
        ("20% off", "20 percent off", True),
        ("20 garages", "20% off", False),
        ("20% of them", "20 of them", True),
        ("$49", "49 dollars", True),
        ("$49", "€49", False),
        ("price 49", "$49", True),
        ("49%", "$49", False),
        ("3,000,000 users", "3 million users", True),
        ("3 users", "3 million users", False),
        ("since 1998", "since 1999", False),
        ("on 2026-11-26", "26.11.2026", True),
        ("on 2026-11-26", "27.11.2026", False),
        ("20 300-gram bags", "20 bags of 300 g", True),
        ("10 to 20", "10-20", True),
    ],
)
def test_a_figure_must_stand_in_the_brief_however_it_is_written(stated: str, said: str, ok: bool) -> None:
    assert (invented_figures(said, facts(fact=stated)) == []) is ok


def test_a_field_that_is_named_percent_states_a_percentage() -> None:
    assert invented_figures("15% off", facts(discount_percent=15)) == []
    assert invented_figures("15% off", facts(discount=15)) == ["figure not in the brief: 15%"]


def test_figures_deep_in_a_brief_count() -> None:
    assert invented_figures("5 and 7", facts(facts=[{"a": 5}, {"b": ["is 7"]}])) == []


@given(st.text(alphabet="0123456789.,'  %$€km-B", max_size=40), st.sampled_from(["en", "de", "de-CH", None]))
def test_whatever_a_brief_says_may_be_repeated(text: str, locale: str | None) -> None:
    assert invented_figures(text, facts(locale, fact=text)) == []


# -- links -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("See https://a.io/x?y=1#z, now.", ["https://a.io/x?y=1#z"]),
        ("(www.a.de)", ["www.a.de"]),
        ("[text](http://a.io/b_(c))", ["http://a.io/b_(c)"]),
        ("acme.com, and shop.acme.co.uk/x!", ["acme.com", "shop.acme.co.uk/x"]),
        ("javascript:alert(1)", ["javascript:alert(1)"]),
        ("Node.js, e.g. so.it end.Next 3.5 bob@acme.com", []),
    ],
)
def test_links_are_found_without_the_punctuation_around_them(text: str, links: list[str]) -> None:
    assert [link.shown for link in links_in(text)] == links


@pytest.mark.parametrize(
    ("said", "ok"),
    [
        ("http://ACME.com/Oil", True),
        ("acme.com/Oil/", True),
        ("https://acme.com/oil", False),
        ("https://acme.com", False),
        ("https://acme.com.evil.io/Oil", False),
        ("https://acme.com@evil.io/Oil", False),
    ],
)
def test_a_link_must_stand_in_the_brief(said: str, ok: bool) -> None:
    assert (foreign_links(f"Go to {said}", facts(link="https://www.acme.com/Oil")) == []) is ok


# -- personal data ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "locale", "kind", "value"),
    [
        ("Mail Bob.B+x@Acme.co.uk.", None, "e-mail address", "bob.b+x@acme.co.uk"),
        ("IBAN: GB82 WEST 1234 5698 7654 32 please", None, "account number", "GB82WEST12345698765432"),
        ("Card 4111-1111-1111-1111", None, "card number", "4111111111111111"),
        ("Call (415) 555-2671", "en", "phone number", "+14155552671"),
        ("Ruf 030 901820 an", "de-DE", "phone number", "+4930901820"),
        ("Ruf +49 30 901820 an", None, "phone number", "+4930901820"),
    ],
)
def test_personal_data_are_found(text: str, locale: str | None, kind: str, value: str) -> None:
    assert [(one.data.kind, one.data.value) for one in personal_data_in(text, locale)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "Card 4111-1111-1111-1112",
        "GB82 WEST 1234 5698 7654 33",
        "in 2026, 12,345,678 times",
        "@handle",
        "1 2 3 4 5 6 7",
    ],
)
def test_control_what_fails_its_check_is_not_personal(text: str) -> None:
    assert personal_data_in(text, "en") == []


@given(st.integers(0, 10**15 - 1), st.integers(1, 9))
def test_one_wrong_digit_fails_the_luhn_check(number: int, change: int) -> None:
    valid = next(f"{number}{check}" for check in range(10) if passes_luhn(f"{number}{check}"))
    assert not passes_luhn(valid[:-1] + str((int(valid[-1]) + change) % 10))


def test_an_account_number_needs_its_countrys_length() -> None:
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE8937040044053201300")
    assert not is_iban("XX89370400440532013000")


# -- near-copies -----------------------------------------------------------------------------------------------------
words = st.lists(st.sampled_from(["oil", "tyre", "winter", "check", "free", "now"]), min_size=1, max_size=8)
texts = words.map(" ".join)


def rows(found: list[str], arms: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        output(f"o{number:02}", text, brief_id=f"b{number}", arm=arms[number] if arms else "flywheel")
        for number, text in enumerate(found)
    ]


@given(st.lists(texts, max_size=12), st.lists(texts, max_size=4), st.sampled_from([0.3, 0.6, 0.9, 1.0]))
def test_copies_are_those_that_comparing_every_pair_finds(found: list[str], known: list[str], threshold: float) -> None:
    of = [Reference(f"r{number}", "s", text, number) for number, text in enumerate(known)]
    expected: list[bool] = []
    for number, text in enumerate(found):
        rivals = [*known, *(other for other, copy in zip(found[:number], expected, strict=True) if not copy)]
        expected.append(any(text_similarity(text, rival) >= threshold - 1e-9 for rival in rivals))
    copies = near_copies(rows(found), of, threshold)
    assert [copy is not None for copy in copies] == expected


def test_of_a_family_the_first_by_id_stays_whatever_the_order_of_rows() -> None:
    family = rows(["Change your oil now, dear driver"] * 3 + ["Something quite different"])
    for order in combinations(range(4), 4):
        given_rows = [family[position] for position in reversed(order)]
        found = near_copies(given_rows, [], 0.9)
        ids = {row["output_id"] for row, copy in zip(given_rows, found, strict=True) if copy is None}
        assert ids == {"o00", "o03"}


def test_families_are_found_across_many_outputs() -> None:
    found = near_copies(
        rows([f"{number} things about {number * 7919} other things" for number in range(600)]), [], 0.99
    )
    assert sum(copy is not None for copy in found) == 0
    same = near_copies(rows(["The very same text"] * 600), [], 0.9)
    assert sum(copy is None for copy in same) == 1


def test_two_arms_may_answer_one_brief_alike_but_not_two_briefs() -> None:
    one, other = output("a", "The same answer."), output("b", "The same answer.", arm="control")
    assert near_copies([one, other], [], 0.9) == [None, None]
    assert near_copies([one, {**other, "brief_id": "b1"}], [], 0.9)[1] is not None


def test_the_likest_reference_is_named() -> None:
    of = [Reference("far", "s", "Change the oil before summer", 1), Reference("near", "s", "Change the oil in May", 2)]
    copy = near_copies([output("a", "Change the oil in May!")], of, 0.5)[0]
    assert copy is not None
    assert (copy.of, copy.id) == ("reference", "near")
