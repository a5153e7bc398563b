"""An insight flywheel in Dagster, on simulated tickets: from files in the inbox to a report, with people in between."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.insight.checking import personal_data_left, quotes_not_verbatim
from flywheel_pipelines.paths import DEFS_DIR
from flywheel_pipelines.spec import InsightSpec, load_insight
from flywheel_pipelines_tests.ticket_desk import NAME, WEEKS, TicketDesk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("insights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_DATA_DIR", str(root))
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        desk = TicketDesk(root)
        desk.put_tickets(1, "t/1.csv")
        assert desk.run("catch_up", WEEKS[0]).success
        assert desk.accept_all(WEEKS[0]) > 5
        desk.put_tickets(2, "t/2.csv", slice(20, None))
        theme = desk.read(tables.THEME_LIBRARY, WEEKS[0])[0]["theme_id"]
        desk.put("f/fixes.csv", [{"date": str(WEEKS[0] + timedelta(days=2)), "theme": theme, "what": "Better labels"}])
        assert desk.run("catch_up", WEEKS[1]).success
        yield desk


def test_only_accepted_themes_place_tickets_of_the_next_cycle(desk: TicketDesk) -> None:
    founded = {row["theme_id"] for row in desk.read(tables.THEME_CANDIDATES, WEEKS[0])}
    second = desk.read(tables.TICKET_THEMES, WEEKS[1])
    by_library = {row["theme_id"] for row in second if row["how"] == "library"}
    assert by_library and by_library <= founded
    assert not [row for row in desk.read(tables.TICKET_THEMES, WEEKS[0]) if row["how"] == "library"]
    arms = {row["arm"]: row for row in desk.read(tables.THEME_LEARNING, WEEKS[1])}
    assert arms["flywheel"]["tokens"] < arms["control"]["tokens"]


def test_the_ledger_has_one_request_per_new_theme(desk: TicketDesk) -> None:
    for week in WEEKS[:2]:
        requests = desk.read(tables.LLM_REQUESTS, week)
        assert {row["brief_id"] for row in requests} == {
            row["theme_id"] for row in desk.read(tables.THEME_CANDIDATES, week)
        }


def test_same_week_again_gives_the_same_bytes_and_asks_nothing(desk: TicketDesk) -> None:
    written = (tables.TICKET_THEMES, tables.THEME_CANDIDATES, tables.THEME_LIBRARY, tables.THEME_TRENDS)
    before = [desk.lake.version(table, NAME, WEEKS[1]) for table in written]
    asked = len(desk.read(tables.LLM_REQUESTS, WEEKS[1]))
    assert desk.run("catch_up", WEEKS[1]).success
    assert [desk.lake.version(table, NAME, WEEKS[1]) for table in written] == before
    assert len(desk.read(tables.LLM_REQUESTS, WEEKS[1])) == asked


def test_report_and_fix_effects_are_there(desk: TicketDesk) -> None:
    page = (desk.root / "reports" / NAME / f"themes-{WEEKS[1]}.html").read_text(encoding="utf-8")
    assert "simulated tickets" in page
    assert "Better labels" in page
    assert (desk.root / "reviews" / NAME / f"{WEEKS[0]}.xlsx").is_file()
    (effect,) = desk.read(tables.FIX_EFFECTS, WEEKS[1])
    assert (effect["verdict"], effect["ratio"]) == ("no evidence", None)
    assert "full cycles" in effect["reason"]


def test_no_address_is_stored_anywhere(desk: TicketDesk) -> None:
    stored = "".join(str(desk.lake.read(table, NAME).to_pylist()) for table in tables.ALL_TABLES)
    stored += "".join(path.read_text(encoding="utf-8") for path in (desk.root / "reports").rglob("*.*"))
    assert "[e-mail address]" in stored
    assert "@example.com" not in stored
    assert personal_data_left(desk.spec, desk.lake, WEEKS[1]) == []


def test_a_quote_that_nobody_wrote_is_found(desk: TicketDesk) -> None:
    assert quotes_not_verbatim(desk.spec, desk.lake, WEEKS[0]) == []
    rows = desk.read(tables.THEME_CANDIDATES, WEEKS[0])
    told = [{**row, "quotes": ["I love this shop."], "quoted_ids": row["member_ids"][:1]} for row in rows[:1]]
    other = Lake(desk.root / "tampered")
    tickets = desk.lake.read(tables.TICKETS, NAME, WEEKS[0])
    header = {"batch_id": "b", "source": "s", "recorded_at": tickets["recorded_at"][0].as_py(), "n_rows": 1,
              "n_quarantined": 0, "first_cycle": WEEKS[0], "last_cycle": WEEKS[0]}  # fmt: skip
    other.append_batch(NAME, header, {tables.TICKETS: tickets})
    forged = pa.Table.from_pylist(
        [{name: row[name] for name in tables.THEME_CANDIDATES.columns} for row in told],
        schema=tables.THEME_CANDIDATES.schema,
    )
    other.write(tables.THEME_CANDIDATES, forged, flywheel=NAME, cycle=WEEKS[0])
    assert len(quotes_not_verbatim(desk.spec, other, WEEKS[0])) == 1


def test_a_late_batch_changes_only_what_it_touches(desk: TicketDesk) -> None:
    untouched = [desk.lake.version(table, NAME, WEEKS[0]) for table in (tables.TICKET_THEMES, tables.THEME_LIBRARY)]
    before = desk.own_tickets(WEEKS[1])
    desk.put_tickets(2, "t/late.csv", slice(0, 20))
    assert desk.run("catch_up", WEEKS[1]).success
    after = desk.own_tickets(WEEKS[1])
    assert len(after.keys() - before.keys()) == 20
    placed = [ticket_id for ticket_id, row in before.items() if row["how"] == "library"]
    assert all(after[ticket_id] == before[ticket_id] for ticket_id in placed)
    assert untouched == [
        desk.lake.version(table, NAME, WEEKS[0]) for table in (tables.TICKET_THEMES, tables.THEME_LIBRARY)
    ]


def test_the_projects_own_reads_what_it_needs() -> None:
    spec = load_insight(DEFS_DIR / "support_insights" / "defs.yaml")
    assert {feed.kind for feed in spec.feeds.values()} == {"tickets", "fixes", "reviews"}
    with pytest.raises(ValueError, match="an insight flywheel reads tickets"):
        InsightSpec.model_validate({**spec.model_dump(), "feeds": {"leads": {"kind": "briefs", "path": "*"}}})


def test_a_cycle_cannot_be_sorted_before_the_one_before_it(desk: TicketDesk) -> None:
    assert not desk.run("open", WEEKS[2] + timedelta(weeks=3)).success


def test_rulings_can_rename_merge_and_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DATA_DIR", str(tmp_path))
    other = TicketDesk(tmp_path)
    other.put_tickets(1, "t/1.csv")
    assert other.run("catch_up", WEEKS[0]).success
    rows = theme_sheet_rows(other.lake, NAME, WEEKS[0])
    first, second, third = (row["output_id"] for row in rows[:3])
    said = [
        {"decision": "edited", "final_text": f"Parcels\n{(rows[0]['draft'] or '').splitlines()[1]}"},
        {"decision": "edited", "final_text": f"merge into {first}"},
        {"decision": "rejected"},
    ]
    path = tmp_path / "inbox" / "r" / "1.csv"
    write_sheet(
        path, [{**row, **what, "reviewer": "pm-1"} for row, what in zip(rows, said, strict=False)], written_as="csv"
    )
    other.land(path)
    assert other.run("catch_up", WEEKS[0]).success
    library = {row["theme_id"]: row for row in other.read(tables.THEME_LIBRARY, WEEKS[0])}
    assert (library[first]["name"], library[first]["status"]) == ("Parcels", "accepted")
    assert (library[second]["status"], library[second]["merged_into"]) == ("merged", first)
    assert library[third]["status"] == "rejected"
    events = [row["event"] for row in other.read(tables.THEME_EVENTS, WEEKS[0]) if row["event"] != "founded"]
    assert {"renamed", "accepted", "merged", "rejected"} <= set(events)
