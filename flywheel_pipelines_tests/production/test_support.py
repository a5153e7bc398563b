"""Whether a sentence is borne out by its passages: how often an honest one is flagged, and a planted false one not.

The claims are invented and written by hand (`cited_claims*.yaml`), so the rates are of this kind of text: short reports
in English. What is stated here stands in docs/flywheels/knowledge_briefs.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_pipelines.passages import Passage
from flywheel_pipelines.production.guardrails.dates import dates_beyond
from flywheel_pipelines.production.guardrails.plain import plain
from flywheel_pipelines.production.guardrails.support import Support
from flywheel_pipelines.spec import CitationsSpec

FOLDER = Path(__file__).parent
KINDS = ("honest", "figure", "date", "name", "direction", "negation", "invented", "swapped")


def claims(name: str) -> Iterator[tuple[str, str, list[Passage], list[Passage]]]:
    """Kind of claim, sentence, the passages it cites, and all passages of its brief."""
    for case in yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")):
        passages = [Passage(f"d#{at}/1", case["heading"], text) for at, text in enumerate(case["passages"])]
        for kind in KINDS:
            for sentence, cited in case.get(kind, []):
                yield kind, sentence, [passages[at] for at in cited], passages


def flagged(name: str, **rules: Any) -> dict[str, tuple[int, int]]:
    """Kind of claim -> how many are flagged, and how many there are."""
    wanted = CitationsSpec(**rules)
    found: dict[str, list[bool]] = {}
    for kind, sentence, cited, passages in claims(name):
        missing = Support(passages, "en", wanted).missing(plain(sentence), cited)
        found.setdefault(kind, []).append(bool(missing))
    return {kind: (sum(flags), len(flags)) for kind, flags in found.items()}


def test_claims_that_the_rules_never_saw() -> None:
    """The stated rates: 3 false alarms in 26 honest sentences; 47 of 49 planted claims found."""
    found = flagged("cited_claims_unseen")
    assert found["honest"] == (3, 26)
    assert {kind: n for kind, n in found.items() if kind != "honest"} == {
        "figure": (13, 13),
        "date": (8, 8),
        "name": (11, 12),
        "direction": (4, 4),
        "negation": (6, 7),
        "invented": (5, 5),
    }


def test_claims_that_the_rules_were_settled_on() -> None:
    assert flagged("cited_claims") == {
        "honest": (1, 88),
        "figure": (48, 50),
        "date": (28, 28),
        "name": (42, 46),
        "direction": (13, 16),
        "negation": (19, 25),
        "invented": (17, 17),
        "swapped": (0, 12),
    }


def test_without_directions_few_false_alarms_are_left_and_most_of_what_is_turned_round_is_missed() -> None:
    seen, unseen = (flagged(name, directions="ignore") for name in ("cited_claims", "cited_claims_unseen"))
    assert (seen["honest"], unseen["honest"]) == ((1, 88), (0, 26))
    for kind in ("direction", "negation"):
        assert seen[kind][0] + unseen[kind][0] < 0.5 * (seen[kind][1] + unseen[kind][1])


def test_control_right_words_put_together_wrongly_pass() -> None:
    """What a rule of words cannot see; the docs say so."""
    assert flagged("cited_claims")["swapped"] == (0, 12)


def test_control_every_claim_is_flagged_when_it_cites_nothing_about_it() -> None:
    elsewhere = [Passage("other#1", "Elsewhere", "Moss grows on the northern side of the wall.")]
    for _, sentence, _, _ in claims("cited_claims_unseen"):
        assert Support(elsewhere, "en", CitationsSpec()).missing(plain(sentence), elsewhere), sentence


@pytest.mark.parametrize(
    ("said", "stated", "beyond"),
    [
        ("on 5 March 2026", "on 2026-03-05", []),
        ("on March 5", "am 05.03.2026", []),
        ("am 5. März", "on 5 March 2026", []),
        ("in March 2026", "on 5 March 2026", []),
        ("on 5 March", "in March 2026", ["5 March"]),
        ("on 6 March", "on 5 March and with 6 people", ["6 March"]),
        ("on 5 March 2025", "on 5 March 2026", ["5 March 2025"]),
        ("on 03/05/2026", "on 5 March 2026", []),
        ("it may 5 times", "nothing", ["may 5"]),
        ("In November 90,000 oaks", "in autumn", []),
    ],
)
def test_a_date_must_stand_in_the_passages_however_it_is_written(said: str, stated: str, beyond: list[str]) -> None:
    assert dates_beyond(said, [stated]) == beyond


@pytest.mark.parametrize(
    ("locale", "said", "missing"),
    [
        ("en", "The plant in Bremen stopped.", ["Bremen (name)"]),
        ("de", "Das Werk in Bremen stand still.", []),
        ("de", "Das Werk der BASF stand still.", ["BASF (name)"]),
        ("en", "The EU pays.", []),
        ("en", "The ECB pays.", ["ECB (name)"]),
        ("en", "Polish plants stopped.", []),
    ],
)
def test_a_name_must_stand_there_or_what_it_stands_for(locale: str, said: str, missing: list[str]) -> None:
    text = "The European Union pays for plants in Poland. Das Werk stand still, the plant stopped."
    passages = [Passage("d#1", "", text)]
    assert Support(passages, locale, CitationsSpec(support=0)).missing(plain(said), passages) == missing
