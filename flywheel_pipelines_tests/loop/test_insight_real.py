"""Real conversations, week by week: the shift of spring 2020 shows from shares, and nothing personal comes through."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from flywheel_pipelines.cycles import cycle_range
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.insight.checking import personal_data_left, quotes_not_verbatim
from flywheel_pipelines.loop.insight.following import close_cycles
from flywheel_pipelines.loop.insight.sorting import sort_tickets
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.writing import writers_from_environment
from flywheel_pipelines.personal_data import personal_data_in
from flywheel_pipelines.report.themes import write_theme_report
from flywheel_pipelines.spec import FlywheelSpec, InsightSpec
from flywheel_pipelines_tests.shared_data import shared_file

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "name": "support",
    "start": date(2019, 7, 1),
    "producer": {"kind": "llm", "model": "gpt-5-mini"},
    "review": "optional",
    "themes": {"min_tickets": 5, "min_coherence": 0.15, "pool": 12, "background": 12},
    "trends": {"reference": 26},
    "feeds": {
        "desk": {
            "kind": "tickets",
            "path": "t/*.csv",
            "columns": {"created_at": "created_at", "text": "first_customer_message", "segment": "brand"},
            "dates": ["%Y-%m-%dT%H:%M:%S.%fZ"],
        }
    },
}


@pytest.mark.slow
def test_spring_2020_shows_from_shares_without_anything_personal(tmp_path: Path) -> None:
    spec, lake = InsightSpec.model_validate(SPEC), Lake(tmp_path / "lake")
    land_file(lake, cast(FlywheelSpec, spec), "desk", shared_file("support", "conversations.csv"), recorded_at=NOW)
    writers = writers_from_environment({}, tmp_path / "journal", NOW)
    cycles = list(cycle_range(spec.start, date(2020, 3, 30), spec.cadence))
    for cycle in cycles:
        recorder = Recorder(lake, spec.name)
        sort_tickets(spec, recorder, [cycle], writers)
        close_cycles(spec, recorder, [cycle])
        assert quotes_not_verbatim(spec, lake, cycle) == []
        assert personal_data_left(spec, lake, cycle) == []
        write_theme_report(spec, lake, cycle, tmp_path / "reports")
    assert len(cycles) >= 20
    trends = lake.read(tables.THEME_TRENDS, spec.name).to_pylist()
    emerging = [row for row in trends if row["movement"] == "emerging" and row["cycle"] >= date(2020, 3, 9)]
    shortage = [row for row in emerging if re.search("toilet|sanitizer|gouging", row["name"], re.IGNORECASE)]
    assert shortage, [row["name"] for row in emerging]
    # Volume alone moves nothing: ten times as many tickets came in than in January, and most themes stayed steady.
    march = [row for row in trends if row["cycle"] == date(2020, 3, 16)]
    assert sum(row["movement"] == "steady" for row in march) > len(march) / 2
    for path in (tmp_path / "reports").rglob("*.*"):
        text = re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8"))
        assert not personal_data_in(text, None)
