"""What starts runs of an insight flywheel by itself: its turns, and files that touch what was closed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from flywheel_pipelines.components import automation
from flywheel_pipelines.components.kit import INSIGHT_LOOP
from flywheel_pipelines.components.warehouse import upstream_assets
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.dbt import dbt_manifest
from flywheel_pipelines.lake.marts import read_marts
from flywheel_pipelines.loop.turns import Turn, next_insight_turn
from flywheel_pipelines.paths import DataPaths
from flywheel_pipelines.report.insight_page import write_insight_report
from flywheel_pipelines_tests.ticket_desk import NAME, WEEKS, TicketDesk

AFTER_TWO = datetime(WEEKS[2].year, WEEKS[2].month, WEEKS[2].day, 6, tzinfo=UTC)
"""The instant at which the second cycle is sorted."""


class Watched:
    """A desk whose sensors are asked by hand, and whose requests are run."""

    def __init__(self, desk: TicketDesk, instance: dg.DagsterInstance) -> None:
        self.desk, self.instance = desk, instance
        self.cursor: str | None = None

    def tick(self, sensor: str) -> dg.RunRequest | str:
        """The run that a sensor asks for, or why it asks for none."""
        of_name = self.desk.definitions.resolve_sensor_def(f"{NAME}__{sensor}")
        cursor = self.cursor if sensor == "inbox" else None
        lake = {"lake": self.desk.resources["lake"]}
        with dg.build_sensor_context(instance=self.instance, cursor=cursor, resources=lake) as context:
            found = of_name(context)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor if sensor == "inbox" else self.cursor
        if found.run_requests:
            (request,) = found.run_requests
            return request
        assert found.skip_reason is not None
        return str(found.skip_reason.skip_message)

    def asked(self, sensor: str) -> tuple[str, str]:
        """The job and the cycle that a sensor asks for, which are then run."""
        request = self.tick(sensor)
        assert isinstance(request, dg.RunRequest), request
        verb = str(request.job_name).removeprefix(f"{NAME}__")
        cycle = next(week for week in WEEKS if str(week) == request.partition_key)
        assert self.desk.run(verb, cycle, self.instance).success
        return verb, str(cycle)

    def versions(self, cycle_number: int) -> list[str]:
        wanted = (tables.TICKET_THEMES, tables.THEME_LIBRARY, tables.THEME_TRENDS, tables.THEME_LEARNING)
        return [self.desk.lake.version(table, NAME, WEEKS[cycle_number]) for table in wanted]


def number(check: dg.AssetCheckEvaluation, name: str) -> float:
    """A number that a check shows."""
    value = check.metadata[name].value
    assert isinstance(value, int | float)
    return value


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two cycles turned by the sensor, the themes of the first accepted in between."""
    root = tmp_path_factory.mktemp("turning")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("FLYWHEEL_DATA_DIR", str(root))
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        patch.setattr(automation, "utc_now", lambda: AFTER_TWO)
        watched = Watched(TicketDesk(root), instance)
        desk = watched.desk
        for number in (1, 2):
            desk.put_tickets(number, f"t/{number}.csv", slice(20, None))
        assert watched.asked("turn") == ("open", str(WEEKS[0]))
        assert watched.asked("turn") == ("close", str(WEEKS[0]))
        assert desk.accept_all(WEEKS[0]) > 5
        assert watched.asked("turn") == ("open", str(WEEKS[1]))
        assert watched.asked("turn") == ("close", str(WEEKS[1]))
        yield watched


def test_a_cycle_that_still_gathers_tickets_is_left_alone(watched: Watched) -> None:
    words = watched.tick("turn")
    assert isinstance(words, str)
    assert words.startswith(f"Cycle {WEEKS[2]} gathers tickets")


def test_the_second_cycle_was_sorted_with_what_people_accepted(watched: Watched) -> None:
    placed = [row for row in watched.desk.read(tables.TICKET_THEMES, WEEKS[1]) if row["how"] == "library"]
    assert len(placed) > 50


def test_what_a_file_touches_is_run_again_and_nothing_else(watched: Watched) -> None:
    """Reviews close their cycle again, tickets that came late have it sorted, and a fix is judged from its day on."""
    desk = watched.desk
    # The sheet landed after the first cycle was closed: how many of its themes were accepted is not said there yet.
    before = desk.read(tables.THEME_LEARNING, WEEKS[0])[1]
    request = watched.tick("inbox")
    assert isinstance(request, dg.RunRequest)
    assert request.job_name == f"{NAME}__close"
    assert request.tags["dagster/asset_partition_range_end"] == str(WEEKS[1])
    for week in WEEKS[:2]:
        assert desk.run("close", week, watched.instance).success
    after = desk.read(tables.THEME_LEARNING, WEEKS[0])[1]
    assert (before["n_accepted"], after["n_accepted"]) == (0, after["n_new"])
    assert watched.tick("inbox") == "No closed cycle is touched."

    first, placed = watched.versions(0), desk.own_tickets(WEEKS[1])
    desk.drop("t/late.csv", desk.tickets(2, slice(0, 20)))
    assert watched.asked("inbox") == ("catch_up", str(WEEKS[1]))
    assert watched.versions(0) == first
    again = desk.own_tickets(WEEKS[1])
    assert len(again.keys() - placed.keys()) == 20
    known = {ticket: row for ticket, row in placed.items() if row["how"] == "library"}
    assert known == {ticket: again[ticket] for ticket in known}
    assert watched.tick("inbox") == "No closed cycle is touched."

    theme = desk.read(tables.THEME_LIBRARY, WEEKS[1])[0]["theme_id"]
    desk.drop("f/fix.csv", [{"date": str(WEEKS[1] + timedelta(days=1)), "theme": theme, "what": "Better labels"}])
    assert watched.asked("inbox") == ("close", str(WEEKS[1]))
    assert [row["what"] for row in desk.read(tables.FIX_EFFECTS, WEEKS[1])] == ["Better labels"]
    assert watched.versions(0) == first


def test_a_ticket_that_is_corrected_is_sorted_by_its_new_words(watched: Watched) -> None:
    desk = watched.desk
    ids = {row["ticket_id"] for row in desk.read(tables.TICKET_THEMES, WEEKS[0]) if row["theme_id"] is not None}
    (old, other) = [row for row in desk.tickets(1) if row["ticket_id"] in ids][:2]
    nothing = {**old, "text": "Hello there and all the best to everybody."}
    before = desk.own_tickets(WEEKS[0])
    desk.drop("t/corrected.csv", [nothing])
    assert watched.asked("inbox") == ("catch_up", str(WEEKS[0]))
    after = desk.own_tickets(WEEKS[0])
    assert before[old["ticket_id"]]["theme_id"] is not None
    assert after[old["ticket_id"]]["theme_id"] is None
    assert after[other["ticket_id"]]["theme_id"] == before[other["ticket_id"]]["theme_id"]


def test_the_checks_and_the_report_say_what_was_learned(watched: Watched) -> None:
    ran = watched.desk.run("close", WEEKS[1], watched.instance)
    found = {check.check_name: check for check in ran.get_asset_check_evaluations()}
    assert found["library_pays"].passed
    assert number(found["library_pays"], "tokens_control") > number(found["library_pays"], "tokens_flywheel")
    assert found["themes_accepted"].passed
    assert number(found["themes_accepted"], "accepted") > 5
    shown = {event.asset_key.path[1]: event.step_materialization_data.materialization.metadata
             for event in ran.get_asset_materialization_events() if event.asset_key}  # fmt: skip
    assert "data:image/png" in str(shown["theme_learning"]["learning_plot"].value)
    assert Path(str(shown["theme_report"]["page_file"].value)).is_file()
    report = write_insight_report(DataPaths(watched.desk.root), watched.desk.spec)
    assert [line["cycle"] for line in report.lines] == WEEKS[:2]
    assert report.lines[1]["tokens_per_ticket"] < report.lines[1]["control_tokens_per_ticket"]
    assert "placed without a model" in report.words


def test_the_graph_is_the_loop(tmp_path: Path) -> None:
    graph = TicketDesk(tmp_path).definitions.resolve_asset_graph()
    drawn = {
        (parent.path[1], key.path[1])
        for key in graph.materializable_asset_keys
        for parent in graph.get(key).parent_keys
    }
    assert drawn == {(parent, asset) for asset, before in INSIGHT_LOOP.items() for parent in before}


def test_marts_follow_the_insights_that_they_are_made_from() -> None:
    marts = {mart.name: mart for mart in read_marts(dbt_manifest())}
    after = {name: [key.path for key in upstream_assets(marts[name], ["mail"], ["desk"])] for name in marts}
    assert after["theme_weekly"] == [["desk", "theme_learning"]]
    assert after["themes"] == [["desk", "theme_learning"]]
    assert after["momentum"] == [["mail", "momentum"]]
    assert ["desk", "ticket_themes"] in after["llm_requests"]


@pytest.mark.parametrize(
    ("opened", "closed", "due"),
    [
        ([], [], ("open", 0)),
        ([0], [], ("close", 0)),
        ([0], [0], ("open", 1)),
        ([0, 1], [0], ("close", 1)),
    ],
)
def test_a_cycle_is_sorted_and_closed_when_it_is_over(
    tmp_path: Path, opened: list[int], closed: list[int], due: tuple[str, int]
) -> None:
    spec = TicketDesk(tmp_path).spec
    turn = next_insight_turn(spec, [WEEKS[at] for at in opened], [WEEKS[at] for at in closed], AFTER_TWO)
    assert isinstance(turn, Turn)
    assert (turn.verb, turn.cycle) == (due[0], WEEKS[due[1]])


def test_too_many_missed_cycles_start_nothing(tmp_path: Path) -> None:
    spec = TicketDesk(tmp_path).spec
    late = AFTER_TWO + timedelta(weeks=8)
    words = next_insight_turn(spec, [], [], late)
    assert isinstance(words, str)
    assert "schedule.catch_up" in words
    assert isinstance(next_insight_turn(spec, [], [], late - timedelta(weeks=2)), Turn)
