"""Arms that lack one part, through the loop: their prompts, their outputs, and what they say of the lift."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.paths import DEFS_DIR, DataPaths
from flywheel_pipelines.published import query
from flywheel_pipelines.report.page import write_report
from flywheel_pipelines.simulation.demo import DemoPlan, sample_briefs
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, deliver_briefs, play
from flywheel_pipelines.spec import load_spec, parse_spec
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import WEEKS, WrittenWorld

SHARES = {"no_references": 0.2, "no_guidelines": 0.2, "no_selection": 0.15}
SETTINGS = {
    "floor": {"confidence": 0.6},
    "arms": {"control": 0.2, "ablations": SHARES},
    "prompt": {"guidelines": ["Be brief."]},
}
N_PLAYED = 3


def stage(world: WrittenWorld) -> PlainStage:
    return PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Three cycles with every ablation arm, opened and closed. Read only."""
    made = WrittenWorld.make(tmp_path_factory.mktemp("ablations"), n_briefs=20, **SETTINGS)
    play(Season.of(made.flywheel, N_PLAYED, made.audience()), stage(made), made.lake, made.paths)
    return made


def prompts(world: WrittenWorld) -> dict[str, dict]:
    """What the last cycle pinned, by arm."""
    known = {row["prompt_version"]: row for row in world.rows(tables.PROMPT_VERSIONS)}
    manifest = world.manifest(WEEKS[N_PLAYED - 1])
    columns = {"flywheel": "prompt_version", **{arm: f"{arm}_prompt_version" for arm in [*SHARES][:2]}}
    return {arm: known[manifest[column]] for arm, column in columns.items()}


def test_the_prompts_lack_their_part_and_nothing_else(world: WrittenWorld) -> None:
    pinned = prompts(world)
    shown = {arm: json.loads(row["shown_references"]) for arm, row in pinned.items()}
    assert shown["flywheel"], "there is something to switch off"
    assert shown["no_references"] == []
    assert shown["no_guidelines"] == shown["flywheel"]
    assert pinned["no_references"]["frame_version"] == pinned["flywheel"]["frame_version"]
    assert all("- Be brief." in row["frame"] for row in pinned.values()), "house rules stay"


def test_without_guidelines_the_frame_is_the_yamls_although_another_is_champion(
    world: WrittenWorld, tmp_path: Path
) -> None:
    """A champion that differs is stood in for by a YAML that was changed after the close."""
    copied = world.copy_to(tmp_path / "edited")
    copied.configure(**{**SETTINGS, "prompt": {"guidelines": ["Be long."]}})
    cycle = WEEKS[N_PLAYED]
    stage(copied).open(cycle, OpenOptions(recorded_at=cycle_start(cycle), is_synthetic=True))
    known = {row["prompt_version"]: row for row in copied.rows(tables.PROMPT_VERSIONS)}
    manifest = copied.manifest(cycle)
    without, champion, bare = (
        known[manifest[name]]
        for name in ("no_guidelines_prompt_version", "prompt_version", "no_references_prompt_version")
    )
    assert "- Be long." in without["frame"]
    assert "- Be brief." in champion["frame"]
    assert "- Be brief." in bare["frame"]
    assert without["shown_references"] == champion["shown_references"] != "[]"


def test_their_outputs_are_judged_and_may_become_references_like_any_other(world: WrittenWorld) -> None:
    arm_of = {row["output_id"]: row["arm"] for row in world.rows(tables.PUBLISHED_OUTPUTS)}
    judged = {arm_of[row["output_id"]] for row in world.rows(tables.SCORED_OUTPUTS)}
    assert judged == {"flywheel", "control", *SHARES}
    promoted = {row["output_id"] for row in world.rows(tables.SCORED_OUTPUTS) if row["decision"] == "promote"}
    assert {arm_of[one] for one in promoted} & {*SHARES}


def test_outcomes_and_signs_of_the_flywheel_do_not_count_them(world: WrittenWorld) -> None:
    switched_off = {
        (row["cycle"], row["brief_id"]) for row in world.rows(tables.PUBLISHED_OUTPUTS) if row["arm"] in SHARES
    }
    counted = {(row["cycle"], row["brief_id"]) for row in world.rows(tables.BRIEF_OUTCOMES)}
    assert switched_off
    assert not switched_off & counted


def test_every_part_is_counted_over_all_cycles(world: WrittenWorld) -> None:
    published = world.rows(tables.PUBLISHED_OUTPUTS)
    rows = {row["arm"]: row for row in world.rows(tables.MOMENTUM_PARTS, WEEKS[N_PLAYED - 1])}
    assert rows.keys() == SHARES.keys()
    for arm, row in rows.items():
        assert row["n_without"] == sum(one["arm"] == arm for one in published)
        assert row["n_flywheel"] == sum(one["arm"] == "flywheel" for one in published)


def test_closing_again_gives_the_same_bytes(world: WrittenWorld, tmp_path: Path) -> None:
    copied = world.copy_to(tmp_path / "again")
    before = fingerprint(copied.paths.lake)
    stage(copied).close(list(WEEKS[:N_PLAYED]), is_last=True)
    changed = changed_files(before, fingerprint(copied.paths.lake))
    assert [path for path in changed if not path.startswith("input_versions")] == []


def test_arms_that_are_declared_later_leave_what_was_assigned_before(world: WrittenWorld, tmp_path: Path) -> None:
    """The same season without them: who was the control's stays the control's, and nothing is in `momentum_parts`."""
    plain = WrittenWorld.make(tmp_path, n_briefs=20, **{**SETTINGS, "arms": {"control": 0.2}})
    play(Season.of(plain.flywheel, 1, plain.audience()), stage(plain), plain.lake, plain.paths)

    def control(of: WrittenWorld) -> set[str]:
        return {row["brief_id"] for row in of.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0]) if row["arm"] == "control"}

    assert control(plain) == control(world) != set()
    assert plain.rows(tables.MOMENTUM_PARTS) == []


@pytest.mark.slow
def test_through_dagster_the_published_file_and_the_page_show_what_moved_it(tmp_path: Path) -> None:
    made = WrittenWorld.make(tmp_path, n_briefs=20, **SETTINGS)
    made.play(1)
    with made.in_force():
        publish(made.paths)
        report = write_report(made.paths, made.spec)
    _, rows = query(made.paths, "select distinct unnest(arms) from outputs")
    assert {row[0] for row in rows} == {"flywheel", "control", *SHARES}
    _, rows = query(made.paths, "select distinct arm from costs where n_published > 0")
    assert {*SHARES} <= {row[0] for row in rows}
    _, rows = query(made.paths, "select distinct arm from prompts_used")
    assert {row[0] for row in rows} == {"flywheel", "control", "no_references", "no_guidelines"}
    _, rows = query(made.paths, "select distinct arm from prompt_performance where n_judged > 0")
    assert {"no_references", "no_guidelines"} <= {row[0] for row in rows}
    assert {row["part"] for row in report.as_dict()["parts"]} == {"references", "guidelines", "selection"}
    assert "What moved it" in report.page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_in_a_simulated_season_references_are_found_to_have_moved_it(tmp_path: Path) -> None:
    """Outreach before its simulated audience, every brief answered with references and without.

    The offline writer follows what references share.
    """
    settings = load_spec(DEFS_DIR / "outreach" / "defs.yaml").model_dump(mode="json")
    settings["arms"] = {"control": 0.05, "comparison": "within_brief", "ablations": {"no_references": 1.0}}
    spec = parse_spec(settings, "outreach with ablations")
    season = DemoPlan((spec,), n_cycles=9, seed=1, world="lively").season(spec)
    paths = DataPaths(tmp_path)
    store = Lake(paths.lake)
    deliver_briefs(season.flywheel, sample_briefs(spec), store, cycle_start(spec.start) - timedelta(days=1))
    play(season, PlainStage(season.flywheel, store, DirectWriters(), paths.outbox), store, paths)
    [row] = store.read(tables.MOMENTUM_PARTS, spec.name, season.cycles[-1]).to_pylist()
    assert row["lower"] > 0
