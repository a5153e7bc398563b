"""An insight flywheel in Dagster, on simulated tickets: from files in the inbox to a report, with people in between."""

from __future__ import annotations

import csv
import os
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
import yaml
from dagster_duckdb import DuckDBResource

from flywheel_pipelines.components import InsightFlywheelComponent
from flywheel_pipelines.components.resources import LakeResource, LlmResource
from flywheel_pipelines.feedback.reviews.desk import theme_sheet_rows
from flywheel_pipelines.feedback.reviews.sheet import write_sheet
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.loop.insight.checking import personal_data_left, quotes_not_verbatim
from flywheel_pipelines.paths import RECIPES_DIR
from flywheel_pipelines.simulation.tickets import TicketWorld, WorldSettings
from flywheel_pipelines.spec import InsightSpec
from flywheel_pipelines.spec.insight import INSIGHT_COMPONENT_TYPE

WORLD = TicketWorld(5, settings=WorldSettings(n_tickets=250))
NAME = "desk_insights"
WEEKS = [WORLD.first_day(number) for number in (1, 2, 3)]


class Desk:
    """A data directory, files in its inbox, and runs of the component's jobs."""

    def __init__(self, root: Path) -> None:
        self.root, self.lake = root, Lake(root / "lake")
        feeds = {
            "desk": {"kind": "tickets", "path": "t/*.csv"},
            "releases": {"kind": "fixes", "path": "f/*.csv"},
            "themes": {"kind": "reviews", "path": "r/*.csv"},
        }
        self.spec = InsightSpec.model_validate(
            {"name": NAME, "start": WEEKS[0], "producer": {"kind": "llm", "model": "gpt-5-mini"}, "feeds": feeds,
             "is_synthetic": True}
        )  # fmt: skip
        self.jobs = InsightFlywheelComponent(self.spec).build_defs(None)  # pyright: ignore[reportArgumentType]

    def put(self, name: str, rows: list[dict[str, str]]) -> None:
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        self.settle(path)

    def settle(self, path: Path) -> None:
        os.utime(path, (1_700_000_000, 1_700_000_000))

    def put_tickets(self, number: int, name: str, part: slice = slice(None)) -> None:
        rows = [
            {"ticket_id": one.ticket_id, "created_at": str(one.day), "text": f"{one.text} Mail me: a{at}@example.com"}
            for at, (one, _) in enumerate(WORLD.tickets(number))
        ]
        self.put(name, rows[part])

    def run(self, verb: str, cycle: date) -> dg.ExecuteInProcessResult:
        duckdb = DuckDBResource(database=":memory:")
        definitions = dg.Definitions(
            assets=self.jobs.assets, jobs=self.jobs.jobs,
            resources={"lake": LakeResource(duckdb=duckdb), "llm": LlmResource()},
        )  # fmt: skip
        job = definitions.resolve_job_def(f"{NAME}__{verb}")
        return job.execute_in_process(partition_key=str(cycle), raise_on_error=False)

    def accept_all(self, cycle: date) -> int:
        rows = theme_sheet_rows(self.lake, NAME, cycle)
        path = self.root / "inbox" / "r" / f"{cycle}.csv"
        write_sheet(path, [{**row, "decision": "accepted", "reviewer": "pm-1"} for row in rows], written_as="csv")
        self.settle(path)
        return len(rows)

    def read(self, table: tables.TableContract, cycle: date) -> list[dict]:
        return self.lake.read(table, NAME, cycle).to_pylist()

    def own_tickets(self, cycle: date) -> dict[str, dict]:
        rows = self.read(tables.TICKET_THEMES, cycle)
        return {row["ticket_id"]: row for row in rows if row["ticket_cycle"] == cycle}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("insights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_DATA_DIR", str(root))
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        desk = Desk(root)
        desk.put_tickets(1, "t/1.csv")
        assert desk.run("catch_up", WEEKS[0]).success
        assert desk.accept_all(WEEKS[0]) > 5
        desk.put_tickets(2, "t/2.csv", slice(20, None))
        theme = desk.read(tables.THEME_LIBRARY, WEEKS[0])[0]["theme_id"]
        desk.put("f/fixes.csv", [{"date": str(WEEKS[0] + timedelta(days=2)), "theme": theme, "what": "Better labels"}])
        assert desk.run("catch_up", WEEKS[1]).success
        yield desk


def test_only_accepted_themes_place_tickets_of_the_next_cycle(desk: Desk) -> None:
    founded = {row["theme_id"] for row in desk.read(tables.THEME_CANDIDATES, WEEKS[0])}
    second = desk.read(tables.TICKET_THEMES, WEEKS[1])
    by_library = {row["theme_id"] for row in second if row["how"] == "library"}
    assert by_library and by_library <= founded
    assert not [row for row in desk.read(tables.TICKET_THEMES, WEEKS[0]) if row["how"] == "library"]
    arms = {row["arm"]: row for row in desk.read(tables.THEME_LEARNING, WEEKS[1])}
    assert arms["flywheel"]["tokens"] < arms["control"]["tokens"]


def test_the_ledger_has_one_request_per_new_theme(desk: Desk) -> None:
    for week in WEEKS[:2]:
        requests = desk.read(tables.LLM_REQUESTS, week)
        assert {row["brief_id"] for row in requests} == {
            row["theme_id"] for row in desk.read(tables.THEME_CANDIDATES, week)
        }


def test_same_week_again_gives_the_same_bytes_and_asks_nothing(desk: Desk) -> None:
    written = (tables.TICKET_THEMES, tables.THEME_CANDIDATES, tables.THEME_LIBRARY, tables.THEME_TRENDS)
    before = [desk.lake.version(table, NAME, WEEKS[1]) for table in written]
    asked = len(desk.read(tables.LLM_REQUESTS, WEEKS[1]))
    assert desk.run("catch_up", WEEKS[1]).success
    assert [desk.lake.version(table, NAME, WEEKS[1]) for table in written] == before
    assert len(desk.read(tables.LLM_REQUESTS, WEEKS[1])) == asked


def test_report_and_fix_effects_are_there(desk: Desk) -> None:
    page = (desk.root / "reports" / NAME / f"themes-{WEEKS[1]}.html").read_text(encoding="utf-8")
    assert "simulated tickets" in page
    assert "Better labels" in page
    assert (desk.root / "reviews" / NAME / f"{WEEKS[0]}.xlsx").is_file()
    (effect,) = desk.read(tables.FIX_EFFECTS, WEEKS[1])
    assert (effect["verdict"], effect["ratio"]) == ("no evidence", None)
    assert "full cycles" in effect["reason"]


def test_no_address_is_stored_anywhere(desk: Desk) -> None:
    stored = "".join(str(desk.lake.read(table, NAME).to_pylist()) for table in tables.ALL_TABLES)
    stored += "".join(path.read_text(encoding="utf-8") for path in (desk.root / "reports").rglob("*.*"))
    assert "[e-mail address]" in stored
    assert "@example.com" not in stored
    assert personal_data_left(desk.spec, desk.lake, WEEKS[1]) == []


def test_a_quote_that_nobody_wrote_is_found(desk: Desk) -> None:
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


def test_a_late_batch_changes_only_what_it_touches(desk: Desk) -> None:
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


def test_the_recipe_is_a_spec() -> None:
    document = yaml.safe_load((RECIPES_DIR / "support_insights" / "defs.yaml").read_text(encoding="utf-8"))
    assert document["type"] == INSIGHT_COMPONENT_TYPE
    spec = InsightSpec.model_validate(document["attributes"])
    assert {feed.kind for feed in spec.feeds.values()} == {"tickets", "fixes", "reviews"}
    with pytest.raises(ValueError, match="an insight flywheel reads tickets"):
        InsightSpec.model_validate({**document["attributes"], "feeds": {"leads": {"kind": "briefs", "path": "*"}}})


def test_a_cycle_cannot_be_sorted_before_the_one_before_it(desk: Desk) -> None:
    assert not desk.run("open", WEEKS[2] + timedelta(weeks=3)).success


def test_rulings_can_rename_merge_and_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DATA_DIR", str(tmp_path))
    other = Desk(tmp_path)
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
    other.settle(path)
    assert other.run("catch_up", WEEKS[0]).success
    library = {row["theme_id"]: row for row in other.read(tables.THEME_LIBRARY, WEEKS[0])}
    assert (library[first]["name"], library[first]["status"]) == ("Parcels", "accepted")
    assert (library[second]["status"], library[second]["merged_into"]) == ("merged", first)
    assert library[third]["status"] == "rejected"
    events = [row["event"] for row in other.read(tables.THEME_EVENTS, WEEKS[0]) if row["event"] != "founded"]
    assert {"renamed", "accepted", "merged", "rejected"} <= set(events)
