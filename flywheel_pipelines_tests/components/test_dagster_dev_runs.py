"""A day in a running `dagster dev`: a cycle opens and closes, a backfill is one run, a step fails, a run dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.loop.writing import writers_from_environment
from flywheel_pipelines.run_launcher import noted_process
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.components.running_dagster import DEFINITIONS, free_port, load_driving
from flywheel_pipelines_tests.instances import prepare_settings
from flywheel_pipelines_tests.written_world import NAME, SEGMENTS, START, WrittenWorld

N_CLOSED = 12
WEEKS = [START + timedelta(weeks=number) for number in range(N_CLOSED + 2)]
NEWEST, NEXT = WEEKS[N_CLOSED - 1], WEEKS[N_CLOSED]
CLOSING = (
    "performance_metrics", "scored_outputs", "scoring_model", "reference_corpus", "prompt_gate", "refreshed_prompt",
    "momentum",
)  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_500)]


@dataclass(frozen=True)
class Running:
    """A `dagster dev` on a lake of twelve closed weeks, which Dagster has not seen anything of."""

    world: WrittenWorld
    base: str
    driving: ModuleType
    home: Path

    def run(self, verb: str, cycle: date) -> dict[str, Any]:
        """Launch a job for a cycle and wait for its end."""
        run_id = self.driving.launch_run(self.base, f"{NAME}__{verb}", cycle.isoformat())
        return self.driving.wait_for_run(self.base, run_id)

    @property
    def n_requests(self) -> int:
        return len(self.world.rows(tables.LLM_REQUESTS))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    world = WrittenWorld.make(tmp_path_factory.mktemp("running"))
    deliver_briefs(world)
    home = world.paths.root / "dagster_home"
    definitions, log = world.root / "definitions.py", world.root / "dagster_dev.log"
    definitions.write_text(DEFINITIONS.format(root=str(world.root)), encoding="utf-8")
    driving = load_driving()
    with pytest.MonkeyPatch.context() as patch:
        prepare_settings(home, patch)
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        with world.in_force():
            play_plainly(world)
        with driving.user_interface(world.paths.root, free_port(), definitions, log) as base:
            yield Running(world, base, driving, home)


def deliver_briefs(world: WrittenWorld) -> None:
    """Briefs for every week; the world itself brings those of the first eight."""
    lines = ["brief_id,week,segment,title,locale,product,facts"]
    for number, week in enumerate(WEEKS):
        for brief in range(4):
            segment = SEGMENTS[brief % 2]
            lines.append(f"x{number}b{brief},{week},{segment},Rotas for {segment},en,planner,Saves {20 + brief} hours")
    path = world.root / "more.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    land_file(world.lake, world.spec, "leads", path, recorded_at=cycle_start(START) - timedelta(hours=1))


def play_plainly(world: WrittenWorld) -> None:
    """Twelve weeks without Dagster, which is quicker."""
    season = Season.of(world.flywheel, N_CLOSED, world.audience())
    writers = writers_from_environment(os.environ, world.paths.journal, cycle_start(START))
    play(season, PlainStage(world.flywheel, world.lake, writers, world.paths.outbox), world.lake, world.paths)


def test_a_correction_of_twelve_weeks_is_one_run_and_calls_no_model(running: Running) -> None:
    before = running.n_requests
    published = running.world.bytes_of("published_outputs", "generated_outputs")
    weeks = [week.isoformat() for week in WEEKS[:N_CLOSED]]
    backfill = running.driving.launch_backfill(running.base, [[NAME, asset] for asset in CLOSING], weeks)
    [run] = running.driving.wait_for_backfill(running.base, backfill)
    assert run["status"] == "SUCCESS"
    assert run["tags"]["dagster/asset_partition_range_start"] == weeks[0]
    assert run["tags"]["dagster/asset_partition_range_end"] == weeks[-1]
    assert running.n_requests == before > 0
    assert running.world.bytes_of("published_outputs", "generated_outputs") == published


def test_a_week_opens_on_what_the_week_before_has_taught_and_then_closes(running: Running) -> None:
    before = running.n_requests
    assert running.run("open", NEXT)["status"] == "SUCCESS"
    assert running.world.manifest(NEXT)["predecessor"] == WEEKS[N_CLOSED - 1]
    assert running.n_requests > before  # the control of the count above
    closed = running.run("close", NEXT)
    assert closed["status"] == "SUCCESS"
    assert {step["status"] for step in closed["stepStats"]} == {"SUCCESS"}


def test_a_step_that_failed_is_resumed_without_redoing_the_steps_before_it(running: Running) -> None:
    partition = running.world.paths.lake / "refreshed_prompt" / f"flywheel={NAME}" / f"cycle={NEWEST}"
    kept = partition.with_name("kept")
    partition.rename(kept)
    partition.write_text("in the way", encoding="utf-8")
    failed = running.run("close", NEWEST)
    assert failed["status"] == "FAILURE"
    statuses = {step["stepKey"].removeprefix(f"{NAME}__"): step["status"] for step in failed["stepStats"]}
    assert statuses["refreshed_prompt"] == "FAILURE"
    assert statuses["reference_corpus"] == "SUCCESS"
    assert "momentum" not in statuses
    partition.unlink()
    kept.rename(partition)
    resumed = running.driving.wait_for_run(running.base, running.driving.resume_run(running.base, failed["runId"]))
    assert resumed["status"] == "SUCCESS"
    done = {step["stepKey"].removeprefix(f"{NAME}__") for step in resumed["stepStats"]}
    assert done == {"refreshed_prompt", "momentum"}


def test_a_killed_run_frees_its_place_and_goes_on_by_itself(running: Running) -> None:
    """Only one run of a flywheel may be under way: while the dead one held its place, its retry could not start."""
    run_id = running.driving.launch_run(running.base, f"{NAME}__close", NEWEST.isoformat())
    with dg.DagsterInstance.from_config(str(running.home)) as instance:
        pid, _ = running.driving.wait_until(lambda: noted_process(instance, run_id), "the run's process", 120)
        os.kill(pid, signal.SIGKILL)
        died = running.driving.wait_for_run(running.base, run_id, seconds=60)
        assert died["status"] == "FAILURE"

        def retry() -> str | None:
            found = instance.get_run_by_id(run_id)
            return found.tags.get("dagster/auto_retry_run_id") if found else None

        again = running.driving.wait_until(retry, "the retry", 60)
    assert running.driving.wait_for_run(running.base, again)["status"] == "SUCCESS"


def test_two_runs_of_a_flywheel_go_one_after_the_other(running: Running) -> None:
    """Asked for at the same time, one by a job and one by a backfill of assets."""
    first = running.driving.launch_run(running.base, f"{NAME}__close", NEWEST.isoformat())
    assets = [[NAME, asset] for asset in CLOSING]
    [second] = running.driving.wait_for_backfill(
        running.base, running.driving.launch_backfill(running.base, assets, [NEWEST.isoformat()])
    )
    running.driving.wait_for_run(running.base, first)
    with dg.DagsterInstance.from_config(str(running.home)) as instance:
        spans = []
        for run_id in (first, second["runId"]):
            stats = instance.get_run_stats(run_id)
            assert stats.start_time is not None
            assert stats.end_time is not None
            spans.append((stats.start_time, stats.end_time))
    earlier, later = sorted(spans)
    assert earlier[1] <= later[0]


def test_a_red_check_stops_the_close_and_a_browser_shows_it(running: Running, tmp_path: Path) -> None:
    folder = running.world.paths.lake / "thresholds"
    kept = tmp_path / "thresholds"
    shutil.move(folder, kept)
    stopped = running.run("close", NEWEST)
    shutil.move(kept, folder)
    assert stopped["status"] == "FAILURE"
    statuses = {step["stepKey"].removeprefix(f"{NAME}__"): step["status"] for step in stopped["stepStats"]}
    assert statuses == {"performance_metrics": "FAILURE"}
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no picture: there is no browser `chromium` on this machine")
    check = "floor_registered_before_capture"
    url = f"/assets/{NAME}/performance_metrics?view=checks&checkDetail={check}"
    shot = running.driving.Shot("red_check", url, (1500, 1000), "its floor")
    with running.driving.browser(chromium) as page:
        png = running.driving.take(page, running.base, shot)
        seen = page.evaluate("document.body.innerText")
    (tmp_path / "red_check.png").write_bytes(png)
    assert "was registered at no time, after its first measurement" in seen
