"""Ablation arms: their shares, what they are asked, and what of it goes out; without them no draw is another one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from flywheel_pipelines.errors import SpecError
from flywheel_pipelines.production.arms import arms_of, publish
from flywheel_pipelines.production.planning import PlannedRequest, PromptInUse, plan_requests
from flywheel_pipelines.prompt_text import BRIEF_SLOT, REFERENCES_SLOT
from flywheel_pipelines.spec import ABLATIONS, Ablation, ArmsSpec, LlmProducer, load_spec, parse_spec
from flywheel_pipelines_tests.production.written import brief, briefs, output, outputs, references
from flywheel_pipelines_tests.small_world import spec as archive_spec
from flywheel_pipelines_tests.written_world import SETTINGS

AT = {"flywheel": "news", "cycle": date(2026, 1, 5)}
SHARES: dict[Ablation, float] = {"no_references": 0.1, "no_guidelines": 0.15, "no_selection": 0.2}
ARMS = ArmsSpec(control=0.2, challenger=0.1, ablations=SHARES)
WITHOUT = ArmsSpec(control=0.2, challenger=0.1)
WITHIN = ARMS.model_copy(update={"comparison": "within_brief"})
MANY = [f"b{number}" for number in range(4_000)]


def arm_of(arms: ArmsSpec) -> dict[str, tuple[str, ...]]:
    return {brief_id: arms_of(brief_id, arms, **AT) for brief_id in MANY}


# -- shares ----------------------------------------------------------------------------------------------------------
def test_every_arm_has_the_share_asked_for() -> None:
    found = Counter(arm for (arm,) in arm_of(ARMS).values())
    for arm, share in {**SHARES, "control": 0.2, "challenger": 0.1, "flywheel": 0.25}.items():
        assert found[arm] / len(MANY) == pytest.approx(share, abs=4 * (share * (1 - share) / len(MANY)) ** 0.5)


def test_their_briefs_come_out_of_the_flywheels_alone() -> None:
    before, after = arm_of(WITHOUT), arm_of(ARMS)
    moved = {brief_id for brief_id in MANY if before[brief_id] != after[brief_id]}
    assert {before[brief_id] for brief_id in moved} == {("flywheel",)}
    assert {after[brief_id][0] for brief_id in moved} == {*SHARES}


def test_within_briefs_they_answer_beside_the_flywheel() -> None:
    found = Counter(arm for arms in arm_of(WITHIN).values() for arm in arms)
    assert found["flywheel"] == len(MANY)
    for arm, share in SHARES.items():
        assert found[arm] / len(MANY) == pytest.approx(share, abs=0.03)
    assert any({*SHARES} <= {*arms} for arms in arm_of(WITHIN).values()), "each has a draw of its own"


DRAWS = {
    "between_briefs": ("9356f9a314a0f591", "998dfd0eafbcd8a2"),
    "within_brief": ("d7eed236c2244c90", "998dfd0eafbcd8a2"),
}
"""Digests of draws from before there were ablation arms. Another one would reassign what is published already."""


@pytest.mark.parametrize("comparison", DRAWS)
def test_without_ablations_every_draw_is_the_one_from_before_there_were_any(comparison: str) -> None:
    from flywheel_pipelines_tests.production.test_arms import written

    between = ArmsSpec(control=0.2, challenger=0.3)
    within = ArmsSpec(control=0.3, challenger=0.3, comparison="within_brief")
    arms = between if comparison == "between_briefs" else within
    assigned = [arms_of(f"b{number}", arms, **AT) for number in range(500)]
    went_out = publish(written(500), arms, publish_all=False, explore=0.3, **AT).to_pylist()
    assert (digest(assigned), digest(went_out)) == DRAWS[comparison]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


# -- what goes out ---------------------------------------------------------------------------------------------------
def written(count: int, variants: int = 4) -> pa.Table:
    rows = [
        output(f"b{number}-{arm}-{variant}", brief_id=f"b{number}", arm=arm, variant=variant, rank=variant + 1)
        for number in range(count)
        for arm in arms_of(f"b{number}", ARMS, **AT)
        for variant in range(1 if arm == "control" else variants)
    ]
    return outputs(rows)


def test_without_selection_every_candidate_goes_out_equally_often_and_its_row_says_so() -> None:
    rows = publish(written(4_000), ARMS, publish_all=False, explore=0.2, **AT).to_pylist()
    drawn = [row for row in rows if row["arm"] == "no_selection"]
    assert {(row["choice"], row["probability"], row["weight"]) for row in drawn} == {("drawn", 0.25, 1.0)}
    found = Counter(row["output_id"][-1] for row in drawn)
    assert all(count / len(drawn) == pytest.approx(0.25, abs=0.06) for count in found.values())
    assert len(found) == 4


def test_the_others_choose_as_the_flywheel_does() -> None:
    rows = publish(written(4_000), ARMS, publish_all=False, explore=0.2, **AT).to_pylist()
    for arm in ("no_references", "no_guidelines", "flywheel"):
        mine = [row for row in rows if row["arm"] == arm]
        assert {row["choice"] for row in mine} == {"best", "explored"}
        best = sum(row["output_id"].endswith("-0") for row in mine) / len(mine)
        assert best == pytest.approx(0.85, abs=0.06)


# -- what they are asked ---------------------------------------------------------------------------------------------
WINNERS = references(*(("garages", f"Winner {number}. " + "Long " * 80) for number in range(5)))
PROMPTS = {
    "flywheel": PromptInUse("v2", f"Learned.\n\n{REFERENCES_SLOT}\n\n{BRIEF_SLOT}", WINNERS),
    "control": PromptInUse("v1", f"Plain.\n\n{BRIEF_SLOT}"),
    "challenger": PromptInUse("v3", f"Try.\n\n{REFERENCES_SLOT}\n\n{BRIEF_SLOT}", WINNERS),
    "no_references": PromptInUse("v4", f"Learned.\n\n{BRIEF_SLOT}"),
    "no_guidelines": PromptInUse("v5", f"Plain.\n\n{REFERENCES_SLOT}\n\n{BRIEF_SLOT}", WINNERS),
}
PRODUCER = LlmProducer(kind="llm", model="tiny", variants=4, max_prompt_tokens_per_brief=1_800)


def planned(prompts: dict[str, PromptInUse] = PROMPTS) -> list[PlannedRequest]:
    rows = briefs(*(brief(f"b{number}", segment="garages") for number in range(200)))
    manifest = {"model": "tiny", "output_schema": None, "attempt": 1}
    return plan_requests(rows, manifest, prompts, PRODUCER, ARMS, **AT)


def asked(arm: str) -> set[tuple[str, bool, int]]:
    """The prompts of an arm: version, whether it showed references, candidates per brief."""
    mine = [one for one in planned() if one.request.arm == arm]
    counts = Counter(one.request.brief_id for one in mine)
    return {(one.request.prompt_version, bool(one.reference_ids), counts[one.request.brief_id]) for one in mine}


def test_each_arm_lacks_its_one_part_and_has_as_many_candidates_as_the_flywheel() -> None:
    [(_, shown, n_candidates)] = asked("flywheel")
    assert shown and 1 < n_candidates < PRODUCER.variants, "long prompts leave room for fewer candidates"
    assert asked("no_references") == {("v4", False, n_candidates)}
    assert asked("no_guidelines") == {("v5", True, n_candidates)}
    assert asked("no_selection") == {("v2", True, n_candidates)}


def test_requests_stand_together_by_arm() -> None:
    order = list(dict.fromkeys(one.request.arm for one in planned()))
    assert order == ["flywheel", "control", "challenger", *ABLATIONS]


# -- what the YAML may say -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"control": 0.3, "ablations": {"no_references": 0.3, "no_selection": 0.4}}, "leave the flywheel less than 5%"),
        ({"ablations": {"no_reference": 0.1}}, "no_references"),
        ({"ablations": {"no_references": 0.01}}, "greater than or equal to 0.05"),
    ],
)
def test_what_cannot_work_is_refused(arms: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_spec({**SETTINGS, "arms": arms}, "defs.yaml")


def test_shares_may_add_up_to_what_leaves_the_flywheel_its_briefs() -> None:
    settings = {**SETTINGS, "arms": {"control": 0.3, "ablations": {"no_references": 0.3, "no_selection": 0.35}}}
    assert parse_spec(settings, "defs.yaml").arms.ablations == {"no_references": 0.3, "no_selection": 0.35}


def test_an_archive_has_nothing_to_switch_off() -> None:
    settings = archive_spec().model_dump(mode="json")
    settings["arms"] |= {"ablations": {"no_selection": 0.1}}
    with pytest.raises(SpecError, match="an archive producer writes nothing"):
        parse_spec(settings, "defs.yaml")


def test_by_default_there_are_none() -> None:
    from flywheel_pipelines.paths import DEFS_DIR

    assert [
        load_spec(path).arms.ablations
        for path in sorted(DEFS_DIR.rglob("*/defs.yaml"))
        if ".FlywheelComponent" in path.read_text(encoding="utf-8")
    ] == [{}, {}, {}]
