"""The gate in the loop: what an opening pins after it, and closing again; steps alone, without Dagster."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.lake import tables
from flywheel_pipelines.learning.gate_state import WITHHELD
from flywheel_pipelines.loop.closing import close_cycles, refresh_prompts
from flywheel_pipelines.loop.gating import frames_run, gate
from flywheel_pipelines.loop.opening import OpenOptions
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.weighing import weigh
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

CYCLES = WEEKS[:4]
TEMPLATE = "Write one letter.\n{{ guidelines }}\n{{ references }}\n{{ brief }}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WrittenWorld:
    """Four cycles with a frame on trial, which retires after two of them."""
    world = WrittenWorld.make(
        tmp_path_factory.mktemp("gated"),
        n_briefs=14,
        arms={"challenger": 0.4},
        prompt={"challenger": "trial.md", "guidelines": ["Be brief."]},
        gate={"trial": 2},
    )
    (world.folder / "trial.md").write_text(TEMPLATE, encoding="utf-8")
    season = Season.of(world.flywheel, len(CYCLES), world.audience())
    stage = PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)
    with world.in_force():
        play(season, stage, world.lake, world.paths)
    return world


def roles(world: WrittenWorld, number: int) -> dict[str, dict]:
    return {row["role"]: row for row in world.rows(tables.PROMPT_GATE, CYCLES[number])}


def test_the_frame_of_the_yaml_is_on_trial_and_its_briefs_are_counted(world: WrittenWorld) -> None:
    first, frame = roles(world, 0), world.flywheel.challenger_frame()
    assert frame is not None
    assert first["challenger"]["frame_version"] == frame.version
    measured = [row for row in world.rows(tables.BRIEF_OUTCOMES, CYCLES[0]) if row["challenger_value"] is not None]
    assert first["challenger"]["n_briefs"] == len(measured) > 0


def test_the_next_cycle_runs_what_the_gate_decided(world: WrittenWorld) -> None:
    for number, cycle in enumerate(CYCLES[1:]):
        decided, ran = roles(world, number), frames_run(world.lake, NAME, cycle)
        assert ran["flywheel"] == decided["champion"]["frame_version"]
        assert ran.get("challenger") == decided.get("challenger", {}).get("frame_version")


def test_a_retired_challenger_leaves_its_share_to_the_flywheel(world: WrittenWorld) -> None:
    assert "challenger" not in roles(world, 2)
    arms = {row["arm"] for row in world.rows(tables.PUBLISHED_OUTPUTS, CYCLES[3])}
    assert arms == {"flywheel", "control"}


def test_challengers_count_for_no_lift(world: WrittenWorld) -> None:
    rows = world.rows(tables.BRIEF_OUTCOMES, CYCLES[0])
    assert not any(row["is_counted"] for row in rows if row["challenger_value"] is not None)


def test_closing_everything_again_gives_the_same_bytes(world: WrittenWorld, tmp_path: Path) -> None:
    copy = world.copy_to(tmp_path / "again")
    before = copy.bytes_of("prompt_gate", "brief_outcomes", "refreshed_prompt", "momentum")
    close_cycles(copy.flywheel, Recorder(copy.lake, NAME), CYCLES)
    assert copy.bytes_of("prompt_gate", "brief_outcomes", "refreshed_prompt", "momentum") == before


def test_the_asset_shows_the_frames_in_play_as_a_table(world: WrittenWorld) -> None:
    shown = str(gate(world.flywheel, Recorder(world.lake, NAME), [CYCLES[0]])["decisions"])
    head, _, *lines = shown.splitlines()
    assert head.startswith("| role | frame | decision |")
    assert {line.count("|") for line in [head, *lines]} == {8}, "no cell breaks its row"
    assert lines[0].startswith("| **champion** |")
    decided = roles(world, 0)
    assert {line.split("`")[1] for line in lines} == {row["frame_version"] for row in decided.values()}


def test_while_references_are_withheld_no_prompt_shows_any(world: WrittenWorld, tmp_path: Path) -> None:
    """The row is planted; `learning/test_gate` shows when the gate writes one."""
    copied, cycle = world.copy_to(tmp_path / "withheld"), CYCLES[-1]
    recorder = Recorder(copied.lake, NAME)
    shown = copied.rows(tables.REFRESHED_PROMPT, cycle)[0]
    assert shown["n_references"] > 0, "there is something to withhold"
    rows = copied.lake.read(tables.PROMPT_GATE, NAME, cycle, columns=tables.PROMPT_GATE.columns)
    champion = next(row for row in rows.to_pylist() if row["role"] == "champion")
    planted = {**champion, "role": WITHHELD, "decision": "start", "since": cycle, "n_cycles": 0}
    rows = pa.concat_tables([rows, pa.Table.from_pylist([planted], schema=rows.schema)])
    recorder.write(tables.PROMPT_GATE, rows, cycle, [])
    refresh_prompts(copied.flywheel, recorder, [cycle])
    [prompt] = copied.rows(tables.REFRESHED_PROMPT, cycle)
    assert (prompt["n_references"], prompt["frame_version"]) == (0, shown["frame_version"])
    stage = PlainStage(copied.flywheel, copied.lake, DirectWriters(), copied.paths.outbox)
    weigh(copied.flywheel, recorder, [cycle])
    stage.open(WEEKS[4], OpenOptions(recorded_at=cycle_start(WEEKS[4]), is_synthetic=True))
    opened = copied.rows(tables.GENERATED_OUTPUTS, WEEKS[4])
    assert {tuple(row["reference_ids"]) for row in opened} == {()}
