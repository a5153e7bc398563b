"""Real conversations, week by week: the shift of spring 2020 shows from shares, and nothing personal comes through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from flywheel_pipelines.cycles import Cadence, cycle_range
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
    # Few tickets a week for most of the file, so more weeks are looked at together.
    "themes": {"min_tickets": 5, "pool": 12, "background": 12},
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
CYCLES = list(cycle_range(SPEC["start"], date(2020, 3, 30), Cadence.WEEKLY))
MARCH = date(2020, 3, 2)
PLANTED = "write to jane.roe@example.org or call +1 415 555 0132"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Played:
    """The real file as it was played: the lake, where everything else was written, and what the checks found."""

    lake: Lake
    root: Path
    findings: list[str]

    def rows(self, table: tables.TableContract) -> list[dict[str, Any]]:
        return self.lake.read(table, SPEC["name"]).to_pylist()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    root = tmp_path_factory.mktemp("support")
    spec, lake = InsightSpec.model_validate(SPEC), Lake(root / "lake")
    # One message gets an address and a number of our own, so that there is something to find.
    source = shared_file("support", "conversations.csv").read_text(encoding="utf-8")
    anchor = "how to find last location, please help urgent?"
    assert anchor in source.casefold()
    at = source.casefold().index(anchor)
    path = root / "conversations.csv"
    path.write_text(f"{source[:at]}{PLANTED}. {source[at:]}", encoding="utf-8")
    land_file(lake, cast(FlywheelSpec, spec), "desk", path, recorded_at=NOW)
    path.unlink()
    writers, findings = writers_from_environment({}, root / "journal", NOW), []
    for cycle in CYCLES:
        recorder = Recorder(lake, spec.name)
        sort_tickets(spec, recorder, [cycle], writers)
        close_cycles(spec, recorder, [cycle])
        findings += [*quotes_not_verbatim(spec, lake, cycle), *personal_data_left(spec, lake, cycle)]
        write_theme_report(spec, lake, cycle, root / "reports")
    return Played(lake, root, findings)


def test_every_cycle_has_its_report_and_passes_its_checks(played: Played) -> None:
    assert len(CYCLES) >= 20
    assert len(list((played.root / "reports").rglob("*.html"))) == len(CYCLES)
    assert played.findings == []


def test_the_shortages_of_spring_2020_emerge_from_shares_though_volume_is_uneven(played: Played) -> None:
    trends = played.rows(tables.THEME_TRENDS)
    emerging = [row for row in trends if row["movement"] == "emerging" and row["cycle"] >= MARCH]
    shortage = [row for row in emerging if re.search("toilet|sanitizer|gouging", row["name"], re.IGNORECASE)]
    assert shortage, [row["name"] for row in emerging]
    # Volume alone moves nothing: ten times as many tickets came in as in January, and most themes stayed steady.
    totals = {row["cycle"]: row["n_all"] for row in trends}
    assert totals[date(2020, 3, 16)] > 10 * totals[date(2020, 1, 13)]
    march = [row for row in trends if row["cycle"] == date(2020, 3, 16)]
    assert sum(row["movement"] == "steady" for row in march) > len(march) / 2
    assert all(row["q_value"] <= 0.1 for row in emerging)


def test_quotes_are_verbatim_in_the_messages_as_they_were_written(played: Played) -> None:
    quotes = [quote for row in played.rows(tables.THEME_CANDIDATES) for quote in row["quotes"]]
    texts = [row["text"] for row in played.rows(tables.TICKETS)]
    assert len(quotes) > 20
    assert [quote for quote in quotes if not any(quote in text for text in texts)] == []


def test_most_messages_of_the_busy_weeks_are_in_a_theme(played: Played) -> None:
    last = {row["ticket_id"]: row for row in played.rows(tables.TICKET_THEMES)}
    march = [row["theme_id"] is not None for row in last.values() if row["ticket_cycle"] >= MARCH]
    assert sum(march) > 0.55 * len(march)


def test_no_address_and_no_number_is_written_anywhere(played: Played) -> None:
    assert personal_data_in(PLANTED, "en")
    assert any("e-mail" in (row["removed"] or "") for row in played.rows(tables.TICKETS))
    stored = {table.name: str(played.rows(table)) for table in tables.ALL_TABLES}
    stored |= {path.name: path.read_bytes().decode("latin-1") for path in played.root.rglob("*") if path.is_file()}
    assert not [name for name, text in stored.items() if "jane.roe" in text or "555 0132" in text]
    for path in [*(played.root / "reports").rglob("*.*"), *(played.root / "journal").rglob("*.*")]:
        text = re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8"))
        assert not personal_data_in(text, None), path.name
