"""A correction in a running `dagster dev`: the file is dropped, the sensor finds it, one run closes what it touches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.components.running_dagster import DEFINITIONS, free_port, load_driving
from flywheel_pipelines_tests.corrections import by_output, inbox_of, write_correction
from flywheel_pipelines_tests.instances import prepare_settings
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

SECOND, THIRD = WEEKS[1:3]
JOB = f"{NAME}__close"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Corrected:
    """A `dagster dev` in which a correction was dropped and closed."""

    world: WrittenWorld
    base: str
    driving: ModuleType
    before: dict[date, dict[str, Any]]
    run: dict[str, Any]
    output: str

    def graphql(self, query: str) -> dict[str, Any]:
        return self.driving.graphql(self.base, query)

    def metadata(self, asset: str) -> dict[str, Any]:
        """What the newest materialization of an asset says of itself, as the UI shows it."""
        query = (
            f'{{ assetOrError(assetKey: {{path: ["{NAME}", "{asset}"]}}) {{ ... on Asset {{ '
            "assetMaterializations(limit: 1) { runId metadataEntries { label "
            "... on MarkdownMetadataEntry { mdStr } ... on IntMetadataEntry { intValue } "
            "... on FloatMetadataEntry { floatValue } ... on TextMetadataEntry { text } } } } } }"
        )
        (materialization,) = self.graphql(query)["assetOrError"]["assetMaterializations"]
        assert materialization["runId"] == self.run["runId"]
        return {
            entry["label"]: next(
                (entry[key] for key in ("mdStr", "intValue", "floatValue", "text") if key in entry), None
            )
            for entry in materialization["metadataEntries"]
        }

    def ticks(self) -> list[dict[str, Any]]:
        """The sensor's ticks, the newest first."""
        query = (
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name sensorState { "
            "status ticks(limit: 20) { status skipReason timestamp runIds error { message } } } } } } } }"
        )
        nodes = self.graphql(query)["repositoriesOrError"]["nodes"]
        sensors = {sensor["name"]: sensor["sensorState"] for node in nodes for sensor in node["sensors"]}
        assert sensors[f"{NAME}__inbox"]["status"] == "RUNNING"
        return sensors[f"{NAME}__inbox"]["ticks"]


@pytest.fixture(scope="module")
def corrected(played: WrittenWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrected]:
    """`dagster dev` on a free port of loopback, with a data directory and a home of its own."""
    world = played.copy_to(tmp_path_factory.mktemp("dev"))
    driving = load_driving()
    home = world.paths.root / "dagster_home"
    definitions, log = world.root / "definitions.py", world.root / "dagster_dev.log"
    definitions.write_text(DEFINITIONS.format(root=str(world.root)), encoding="utf-8")
    before = {cycle: by_output(world.rows(tables.SCORED_OUTPUTS, cycle)) for cycle in (SECOND, THIRD)}
    with pytest.MonkeyPatch.context() as patch:
        prepare_settings(home, patch)
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        with driving.user_interface(world.paths.root, free_port(), definitions, log) as base:
            (output,) = write_correction(world, SECOND, inbox_of(world) / "correction.csv")
            try:
                run = driving.wait_for_correction(base, JOB)
            except TimeoutError as error:
                pytest.fail(f"{error}\n{log.read_text(errors='replace')[-4_000:]}")
            yield Corrected(world, base, driving, before, run, output)


def test_the_sensor_launches_one_run_over_exactly_the_touched_range(corrected: Corrected) -> None:
    assert corrected.run["status"] == "SUCCESS"
    tags = corrected.run["tags"]
    assert tags["dagster/sensor_name"] == f"{NAME}__inbox"
    assert tags["dagster/asset_partition_range_start"] == SECOND.isoformat()
    assert tags["dagster/asset_partition_range_end"] == THIRD.isoformat()
    assert tags["touched_cycles"] == SECOND.isoformat()


def test_the_flipped_decisions_stand_in_the_metadata_of_the_scores(corrected: Corrected) -> None:
    flipped = [
        (cycle, row["output_id"], corrected.before[cycle][row["output_id"]]["decision"], row["decision"])
        for cycle in (SECOND, THIRD)
        for row in corrected.world.rows(tables.SCORED_OUTPUTS, cycle)
        if row["decision"] != corrected.before[cycle][row["output_id"]]["decision"]
    ]
    shown = corrected.metadata("scored_outputs")
    assert shown["decisions_flipped"] == len(flipped) > 0
    for cycle, output, was, now in flipped:
        assert f"| {cycle} | {output} | {was} | {now} |" in shown["flipped"]


def test_the_changed_value_stands_in_the_metadata_of_the_metrics(corrected: Corrected) -> None:
    shown = corrected.metadata("performance_metrics")
    assert shown["values_changed"] == 1
    assert corrected.output in shown["largest_changes"]
    assert shown["matched_rate"] > 0


def test_later_ticks_find_nothing_and_launch_nothing(corrected: Corrected) -> None:
    ended, deadline = time.time(), time.monotonic() + 180
    quiet: list[dict[str, Any]] = []
    while not quiet and time.monotonic() < deadline:
        quiet = [tick for tick in corrected.ticks() if tick["timestamp"] > ended and tick["status"] == "SKIPPED"]
        time.sleep(2)
    assert quiet
    assert quiet[0]["skipReason"] == "No closed cycle is touched."
    assert [tick["error"] for tick in corrected.ticks() if tick["error"]] == []
    assert len(corrected.driving.runs_of(corrected.base, JOB)) == 1


def test_a_browser_shows_the_flipped_decision(corrected: Corrected, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no picture: there is no browser `chromium` on this machine")
    url = f"/assets/{NAME}/scored_outputs?view=partitions&partition={THIRD}"
    shot = corrected.driving.Shot("restatement", url, (1500, 1100), "decisions_flipped", clip=(240, 0, 1260, 1100))
    with corrected.driving.browser(chromium) as page:
        png = corrected.driving.take(page, corrected.base, shot)
        assert corrected.output in page.evaluate("document.body.innerText")
    (tmp_path / "restatement.png").write_bytes(png)
    assert png.startswith(b"\x89PNG")
