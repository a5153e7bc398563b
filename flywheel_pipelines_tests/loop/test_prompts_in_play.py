"""From a proposal to its trial: the gate starts it, the next cycle is opened with it, and the library shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.library import read_library
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, deliver_feedback, play
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

SETTINGS = {
    "floor": {"confidence": 0.6},
    "arms": {"challenger": 0.4},
    "prompt": {"refresh": "reflect", "reflect_every": 1, "reflect_support": 1},
}
N_PLAYED = 4


def stage(world: WrittenWorld) -> PlainStage:
    return PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Four cycles with reflection, opened and closed, and a fifth that is open. Read only."""
    made = WrittenWorld.make(tmp_path_factory.mktemp("in_play"), n_briefs=24, **SETTINGS)
    season = Season.of(made.flywheel, N_PLAYED, made.audience())
    play(season, stage(made), made.lake, made.paths)
    stage(made).open(WEEKS[N_PLAYED], OpenOptions(recorded_at=cycle_start(WEEKS[N_PLAYED]), is_synthetic=True))
    return made


def proposed(world: WrittenWorld) -> dict:
    return min(
        (row for row in world.rows(tables.PROMPT_FRAMES) if row["author"] == "reflection"),
        key=lambda row: row["proposed_for"],
    )


def versions(world: WrittenWorld) -> dict[str, dict]:
    return {row["prompt_version"]: row for row in world.rows(tables.PROMPT_VERSIONS)}


def test_a_proposal_is_on_trial_in_the_cycle_after_the_one_it_was_made_in(world: WrittenWorld) -> None:
    frame, prompts = proposed(world), versions(world)
    first = prompts[world.manifest(frame["proposed_for"])["challenger_prompt_version"]]
    assert first["frame_version"] == frame["frame_version"]
    assert first["author"] == "reflection"


def test_a_cycle_without_a_prompt_on_trial_gives_its_share_to_the_flywheel(world: WrittenWorld) -> None:
    assert world.manifest(WEEKS[0])["challenger_prompt_version"] is None
    assert {row["arm"] for row in world.rows(tables.PUBLISHED_OUTPUTS, WEEKS[0])} == {"flywheel", "control"}


def test_the_challenger_states_the_guidelines_and_shows_the_champions_references(world: WrittenWorld) -> None:
    frame, prompts = proposed(world), versions(world)
    manifest = world.manifest(frame["proposed_for"])
    challenger, champion = (prompts[manifest[key]] for key in ("challenger_prompt_version", "prompt_version"))
    for guideline in json.loads(frame["guidelines"]):
        assert f"- {guideline['text']}" in challenger["frame"]
    assert challenger["shown_references"] == champion["shown_references"]
    assert challenger["parent_version"] == champion["prompt_version"]


def test_the_control_keeps_the_yamls_frame_without_references(world: WrittenWorld) -> None:
    [template] = [row for row in world.rows(tables.PROMPT_FRAMES) if row["author"] == "template"]
    for cycle in WEEKS[: N_PLAYED + 1]:
        control = versions(world)[world.manifest(cycle)["control_prompt_version"]]
        assert (control["frame_version"], control["shown_references"]) == (template["frame_version"], "[]")


def test_the_library_knows_the_cycles_of_the_trial(world: WrittenWorld) -> None:
    [entry] = [one for one in read_library(world.lake, NAME) if one.version == proposed(world)["frame_version"]]
    assert entry.cycles["challenger"][0] == proposed(world)["proposed_for"]


def test_only_one_frame_is_proposed_while_it_is_on_trial(world: WrittenWorld) -> None:
    assert len([row for row in world.rows(tables.PROMPT_FRAMES) if row["author"] == "reflection"]) == 1


def test_closing_again_gives_the_same_bytes(world: WrittenWorld, tmp_path: Path) -> None:
    copied = world.copy_to(tmp_path / "again")
    before = fingerprint(copied.paths.lake)
    stage(copied).close(list(WEEKS[:N_PLAYED]), is_last=True)
    changed = changed_files(before, fingerprint(copied.paths.lake))
    assert [path for path in changed if not path.startswith("input_versions")] == []


def test_a_template_changed_in_the_yaml_is_registered_and_does_not_replace_the_champion_by_itself(
    world: WrittenWorld, tmp_path: Path
) -> None:
    copied = world.copy_to(tmp_path / "edited")
    (copied.folder / "new.md").write_text("New. {{ guidelines }}{{ references }}\n{{ brief }}\n", encoding="utf-8")
    copied.configure(**{**SETTINGS, "prompt": {**SETTINGS["prompt"], "template": "new.md"}})
    season = Season.of(copied.flywheel, 1, copied.audience())
    deliver_feedback(season, WEEKS[N_PLAYED], copied.lake, copied.paths)
    stage(copied).close([WEEKS[N_PLAYED]], is_last=True)
    stage(copied).open(
        WEEKS[N_PLAYED + 1], OpenOptions(recorded_at=cycle_start(WEEKS[N_PLAYED + 1]), is_synthetic=True)
    )
    frames = sorted(copied.rows(tables.PROMPT_FRAMES), key=lambda row: row["recorded_at"])
    old, new = (row for row in frames if row["author"] == "template")
    assert new["parent_version"] == old["frame_version"]
    champion = versions(copied)[copied.manifest(WEEKS[N_PLAYED + 1])["prompt_version"]]
    assert champion["frame_version"] == old["frame_version"]


def test_the_sql_of_the_documents_leads_from_each_guideline_to_the_outputs_it_rests_on(world: WrittenWorld) -> None:
    page = (PROJECT_ROOT / "docs" / "learning" / "prompt-library.md").read_text(encoding="utf-8")
    [query] = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    with duckdb.connect() as connection:
        connection.execute("create schema lake")
        for table in (tables.PROMPT_FRAMES, tables.SCORED_OUTPUTS):
            connection.register("rows_of_lake", world.lake.read(table, NAME))
            connection.execute(f"create table lake.{table.name} as select * from rows_of_lake")
            connection.unregister("rows_of_lake")
        found = connection.execute(query).fetchall()
    cited = {(one["text"], output) for one in json.loads(proposed(world)["guidelines"]) for output in one["supports"]}
    assert {row[:2] for row in found} == cited
    assert {row[2] for row in found if row[2] == "promote"}
