"""A season of insights through Dagster: what it learns, what fixes did, the published tables, and the sample files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DEFS_DIR, PROJECT_ROOT, DataPaths
from flywheel_pipelines.report.insight_page import InsightReport, write_insight_report
from flywheel_pipelines.simulation.demo import DemoPlan, run_demo
from flywheel_pipelines.simulation.insight_season import InsightSeason, fix_rows, ticket_rows
from flywheel_pipelines.spec import load_insight

pytestmark = pytest.mark.timeout(900)
SPEC = load_insight(DEFS_DIR / "support_insights" / "defs.yaml")
SEASON = InsightSeason(SPEC, n_cycles=10)
SAMPLES = PROJECT_ROOT / "data" / "samples" / SPEC.name


@dataclass(frozen=True)
class Played:
    """A data directory in which the season was played."""

    paths: DataPaths
    report: InsightReport

    def query(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.paths.published_file), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    paths = DataPaths(tmp_path_factory.mktemp("insights"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_DATA_DIR", str(paths.root))
        assert run_demo(DemoPlan((), insights=(SEASON,)), paths) == []
        yield Played(paths, write_insight_report(paths, SPEC))


@pytest.mark.slow
def test_the_library_takes_work_off_the_model_and_the_control_gains_nothing(played: Played) -> None:
    lines = played.report.lines
    assert [line["cycle"] for line in lines] == SEASON.cycles
    second, last = lines[1], lines[-1]
    assert last["tokens_per_ticket"] < second["tokens_per_ticket"] / 2
    assert last["control_tokens_per_ticket"] > second["control_tokens_per_ticket"] / 2
    assert last["share_by_library"] > 0.6
    assert lines[0]["acceptance_rate"] > 0.5


@pytest.mark.slow
def test_the_fix_that_does_nothing_is_not_taken_for_one_that_works(played: Played) -> None:
    works = {f"Simulated release {number}: {fix.theme}": fix.works for number, fix in enumerate(SEASON.world.fixes, 1)}
    verdicts = {fix["what"]: fix["verdict"] for fix in played.report.fixes}
    assert verdicts.keys() == works.keys()
    assert {what for what, verdict in verdicts.items() if verdict == "worked"} <= {
        what for what in works if works[what]
    }
    assert "worked" in verdicts.values()
    assert "worse" not in verdicts.values()


@pytest.mark.slow
def test_the_published_file_has_what_the_lake_has(played: Played) -> None:
    lake = Lake(played.paths.lake)
    weekly = lake.read(tables.THEME_TRENDS, SPEC.name).num_rows
    assert played.query("select count(*), bool_and(is_synthetic) from theme_weekly") == [(weekly, True)]
    library = lake.read(tables.THEME_LIBRARY, SPEC.name, SEASON.last).num_rows
    assert played.query("select count(*) from themes") == [(library,)]
    assert played.query("select count(*) from themes where status = 'accepted' and len(quotes) > 0") > [(10,)]
    latest = dict(played.query("select what, verdict from fix_effects where is_latest"))
    assert latest == {fix["what"]: fix["verdict"] for fix in played.report.fixes}
    (rates,) = played.query("select list(share_by_library order by cycle) from theme_learning")
    assert rates[0] == pytest.approx([line["share_by_library"] for line in played.report.lines])


@pytest.mark.slow
def test_files_of_ones_own_are_not_replaced(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DATA_DIR", str(played.paths.root))
    lake, file = Lake(played.paths.lake), played.paths.root / "own.csv"
    rows, _ = ticket_rows(SEASON, 1)
    file.write_text("id,opened,product,message\nown,2026-01-05T12:00:00Z,shop,Mine\n", encoding="utf-8")
    assert rows
    land_file(lake, SPEC, "desk", file, recorded_at=datetime(2026, 6, 1, tzinfo=UTC))
    with pytest.raises(FlywheelError, match=r"own\.csv"):
        run_demo(DemoPlan((), insights=(SEASON,)), played.paths)
    assert lake.cycles(tables.THEME_LEARNING, SPEC.name) == SEASON.cycles


def test_the_sample_files_are_the_seasons_own_and_land_whole(tmp_path: Path) -> None:
    lake, now = Lake(tmp_path), datetime(2026, 6, 1, tzinfo=UTC)
    files = sorted(SAMPLES.glob("simulated-tickets-*.csv"))
    assert len(files) == 2
    for number, file in enumerate(files, start=1):
        with file.open(encoding="utf-8", newline="") as handle:
            assert list(csv.DictReader(handle)) == ticket_rows(SEASON, number)[0]
        batch, _ = land_file(lake, SPEC, "desk", file, recorded_at=now)
        assert (batch.n_quarantined, batch.cycles) == (0, [SEASON.cycles[number - 1]])
    with (SAMPLES / "simulated-fixes.csv").open(encoding="utf-8", newline="") as handle:
        assert list(csv.DictReader(handle)) == fix_rows(SEASON, SEASON.cycles[1])
    assert land_file(lake, SPEC, "releases", SAMPLES / "simulated-fixes.csv", recorded_at=now)[0].n_rows == 3
