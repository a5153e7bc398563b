"""The page of a flywheel: what it says of a real one, of an unknown cost, and of texts that look like markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.publish import publish
from flywheel_pipelines.report.page import FlywheelReport, cost_lines, cost_note, momentum_lines, write_report
from flywheel_pipelines_tests.small_world import SmallWorld, fingerprint, spec
from flywheel_pipelines_tests.written_world import WEEKS, WrittenWorld, counted_server

MARKUP = "<script>alert('offers')</script>"
COSTS = {"requests": 1_000, "tokens": 50_000, "published": 100, "promoted": 0, "cost": 1.5}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenWorld, FlywheelReport]:
    """One cycle of a provider without prices, closed, published and reported on."""
    world = WrittenWorld.make(tmp_path_factory.mktemp("real"), description=MARKUP)
    world.configure(description=MARKUP, producer={"prices": {"another-model": {"input": 1, "output": 1}}})
    with counted_server() as server:
        assert world.open(WEEKS[0], server).success
    assert world.run("close", WEEKS[0]).success
    with world.in_force():
        publish(world.paths)
        return world, write_report(world.paths, world.spec)


def test_a_real_flywheel_is_not_called_simulated(real: tuple[WrittenWorld, FlywheelReport]) -> None:
    report = real[1]
    page = report.page.read_text(encoding="utf-8")
    assert report.is_synthetic is False
    assert "SIMULATED" not in page
    assert "simulat" not in page.replace("alert", "")
    assert "real data" in report.title


def test_a_cost_without_a_price_is_unknown_and_not_nothing(real: tuple[WrittenWorld, FlywheelReport]) -> None:
    report = real[1]
    total = report.cost_lines[-1]
    assert (total["label"], total["requests"], total["cost"]) == ("all", "10", "unknown")
    assert total["cost_per_promoted"] == "–"
    assert "producer.prices" in report.cost_note
    assert "unknown" in report.page.read_text(encoding="utf-8")


def test_what_looks_like_markup_stays_text(real: tuple[WrittenWorld, FlywheelReport]) -> None:
    page = real[1].page.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_same_lake_gives_the_same_page(real: tuple[WrittenWorld, FlywheelReport]) -> None:
    world, report = real
    before = fingerprint(world.paths.reports)
    write_report(world.paths, world.spec)
    assert fingerprint(world.paths.reports) == before
    assert {report.page.name, report.plot.name} == {
        name for name in before if not name.startswith(("data_docs/", "dbt_docs/"))
    }


def test_too_few_briefs_for_an_interval_say_so(real: tuple[WrittenWorld, FlywheelReport]) -> None:
    """One cycle of six briefs proves nothing, and the page claims nothing."""
    lines = momentum_lines(real[1].summary)
    assert {line["interval"] for line in lines} == {"too few briefs"}


def test_a_replayed_archive_has_a_page_without_costs(copied: SmallWorld) -> None:
    report = write_report(copied.paths, spec())
    assert report.is_synthetic
    assert report.costs == []
    assert "SIMULATED" in report.page.read_text(encoding="utf-8")


def test_a_flywheel_that_never_closed_a_cycle_has_no_page(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path)
    with pytest.raises(FlywheelError):
        write_report(world.paths, world.spec)
    assert not world.paths.reports.exists()


def test_costs_per_output_are_ratios_and_a_division_by_nothing_is_a_dash() -> None:
    (line,) = cost_lines([{"quarter": None, **COSTS}])
    assert line["tokens_per_published"] == "500"
    assert (line["cost"], line["cost_per_promoted"]) == ("$1.50", "–")
    (line,) = cost_lines([{"quarter": 1, **COSTS, "promoted": 3}])
    assert (line["label"], line["cost_per_promoted"]) == ("quarter 1", "$0.5000")


@pytest.mark.parametrize(
    ("cost", "is_synthetic", "said"),
    [(1.5, True, "as if"), (1.5, False, "the YAML's prices"), (None, True, "unknown"), (None, False, "unknown")],
)
def test_the_note_says_how_to_read_costs(cost: float | None, is_synthetic: bool, said: str) -> None:
    assert said in cost_note([{"quarter": None, **COSTS, "cost": cost}], is_synthetic=is_synthetic)
