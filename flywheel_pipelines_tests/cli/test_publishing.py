"""`flywheel publish`: only what has changed, all of it when asked, and words when a test fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import PUBLISHED_OUTPUTS
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, WEEKS, published_rows, write_sample_lake


@pytest.mark.slow
def test_a_publish_makes_what_has_changed_or_everything(run: Run, empty: Path) -> None:
    lake = Lake(DataPaths(empty).lake)
    write_sample_lake(lake)
    first, second = run("publish", "--json"), run("publish")
    assert (first.code, first.json["cycles_made_anew"], first.json["rows"]["outputs"]) == (0, None, 12)
    assert (second.code, "0 cycle(s) made anew" in second.said) == (0, True)
    lake.write(PUBLISHED_OUTPUTS, published_rows(2, (0.5, 0.2)), flywheel=FLYWHEEL, cycle=WEEKS[1])
    refused = run("publish", "--full")
    assert refused.code == 2
    assert "weights_sum_to_one (on stg_published_outputs): 2 row(s) object" in refused.said
    assert "stays as it was" in refused.said
