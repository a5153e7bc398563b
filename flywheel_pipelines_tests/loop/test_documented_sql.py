"""The SQL of docs/learning/scoring.md gives the decisions that the tables hold."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from flywheel_pipelines.lake.snapshot import create_layer_views
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.simulation.direct_writers import DirectWriters
from flywheel_pipelines.simulation.season import PlainStage, Season, play
from flywheel_pipelines_tests.written_world import WrittenWorld

pytestmark = pytest.mark.slow
PAGE = PROJECT_ROOT / "docs" / "learning" / "scoring.md"


@pytest.fixture(scope="module")
def analysts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the views of a lake of three closed cycles."""
    root = tmp_path_factory.mktemp("documented")
    world = WrittenWorld.make(root, n_briefs=16)
    stage = PlainStage(world.flywheel, world.lake, DirectWriters(), world.paths.outbox)
    play(Season.of(world.flywheel, 3, world.audience()), stage, world.lake, world.paths)
    create_layer_views(root / "views.duckdb", world.paths.lake)
    return root / "views.duckdb"


def disagreeing(file: Path, query: str) -> tuple[int, int]:
    """Outputs judged, and those of them whose decision the query does not give."""
    with duckdb.connect(str(file), read_only=True) as connection:
        counted = connection.execute(
            f"select count(*), count(*) filter (where floor_says <> decision and not is_vetoed) from ({query})"
        ).fetchone()
        judged = connection.execute("select count(*) from lake.scored_outputs").fetchone()
    assert counted is not None and judged is not None
    assert counted[0] == judged[0] > 20
    return counted


def query_of_the_page() -> str:
    [query] = [
        one
        for one in re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "floor_says" in one
    ]
    return query


def test_the_sql_of_the_page_gives_every_decision(analysts: Path) -> None:
    assert disagreeing(analysts, query_of_the_page())[1] == 0


def test_control_another_confidence_gives_others(analysts: Path) -> None:
    changed = query_of_the_page().replace("p_above >= confidence", "p_above >= 0.5")
    assert disagreeing(analysts, changed)[1] > 0
