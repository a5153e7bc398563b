"""What a close writes down when it changes what was closed before: every value, every decision that flips, and why."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.contracts import TableContract
from flywheel_pipelines.loop import restatements
from flywheel_pipelines.loop.closing import close_cycles, measure, score
from flywheel_pipelines.loop.corrections import correction_due
from flywheel_pipelines.loop.recorder import Recorder
from flywheel_pipelines.loop.restated_words import MOST_SHOWN, about_metrics
from flywheel_pipelines.spec import RateMetric
from flywheel_pipelines_tests.corrections import by_output, write_correction
from flywheel_pipelines_tests.small_world import changed_files, fingerprint
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld, later

FIRST, SECOND, THIRD = WEEKS[:3]
LATER = later(WEEKS[7], hours=1)


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path) -> WrittenWorld:
    """Three closed cycles; what the season itself restated is forgotten."""
    world = played.copy_to(tmp_path)
    shutil.rmtree(world.paths.lake / "restatements", ignore_errors=True)
    for path in (world.paths.lake / "batches" / f"flywheel={NAME}").glob("*.parquet"):
        if path.stem.split("-", 1)[1] in restated_in_season(played):
            path.unlink()
    return world


def restated_in_season(world: WrittenWorld) -> set[str]:
    return {row["batch_id"] for row in world.rows(tables.RESTATEMENTS)}


def correct(world: WrittenWorld, cycle: date, *, replies: int = 400, hours: int = 0) -> tuple[str, str]:
    """Land a correction of one output; its id and the batch."""
    path = world.root / f"correction-{cycle}-{replies}.csv"
    (output,) = write_correction(world, cycle, path, replies=replies)
    batch, is_new = land_file(world.lake, world.spec, "mailer", path, recorded_at=LATER + timedelta(hours=hours))
    assert is_new
    return output, batch.batch_id


def close(world: WrittenWorld, *cycles: date) -> Recorder:
    recorder = Recorder(world.lake, NAME)
    close_cycles(world.flywheel, recorder, list(cycles))
    return recorder


def test_old_and_new_value_and_the_batch_that_caused_it(world: WrittenWorld) -> None:
    old = by_output(world.rows(tables.PERFORMANCE_METRICS, SECOND))
    output, batch = correct(world, SECOND)
    close(world, SECOND, THIRD)
    new = by_output(world.rows(tables.PERFORMANCE_METRICS, SECOND))
    (row,) = [row for row in world.rows(tables.RESTATEMENTS) if row["subject"] == "metric"]
    assert (row["cycle"], row["output_id"], row["metric"]) == (SECOND, output, "reply_rate")
    assert (row["old_value"], row["new_value"]) == (old[output]["value"], new[output]["value"])
    assert (row["old_exposure"], row["new_exposure"]) == (old[output]["exposure"], new[output]["exposure"])
    assert row["old_value"] != row["new_value"]
    assert row["caused_by"] == [batch]
    assert (row["old_decision"], row["new_decision"]) == (None, None)


def test_every_decision_that_flips_in_any_cycle_of_the_range(world: WrittenWorld) -> None:
    old = {cycle: by_output(world.rows(tables.SCORED_OUTPUTS, cycle)) for cycle in (SECOND, THIRD)}
    output, batch = correct(world, SECOND)
    close(world, SECOND, THIRD)
    expected = {
        (cycle, row["output_id"], old[cycle][row["output_id"]]["decision"], row["decision"])
        for cycle in (SECOND, THIRD)
        for row in world.rows(tables.SCORED_OUTPUTS, cycle)
        if row["decision"] != old[cycle][row["output_id"]]["decision"]
    }
    rows = [row for row in world.rows(tables.RESTATEMENTS) if row["subject"] == "decision"]
    assert {(row["cycle"], row["output_id"], row["old_decision"], row["new_decision"]) for row in rows} == expected
    assert (SECOND, output) in {(row["cycle"], row["output_id"]) for row in rows}
    assert {tuple(row["caused_by"]) for row in rows} == {(batch,)}
    assert all(row["old_value"] != row["new_value"] for row in rows)


def test_closing_again_without_a_change_writes_none(world: WrittenWorld) -> None:
    before = world.bytes_of()
    close(world, SECOND, THIRD)
    assert world.rows(tables.RESTATEMENTS) == []
    assert changed_files(before, world.bytes_of()) == []


def test_a_first_close_writes_none(tmp_path: Path) -> None:
    world = WrittenWorld.make(tmp_path)
    world.play(1)
    assert world.rows(tables.SCORED_OUTPUTS, FIRST)
    assert world.rows(tables.RESTATEMENTS) == []


def test_recording_it_changes_nothing_else_about_the_close(
    world: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.copy_to(tmp_path / "other")
    for one in (world, other):
        correct(one, SECOND)
    close(world, SECOND, THIRD)
    monkeypatch.setattr(restatements, "_restate", lambda *_: restatements.no_changes())
    close(other, SECOND, THIRD)
    with_book, without = (fingerprint(one.paths.lake, "restatements", "batches") for one in (world, other))
    assert changed_files(with_book, without) == []
    assert world.rows(tables.RESTATEMENTS)
    assert other.rows(tables.RESTATEMENTS) == []


def test_a_kill_between_the_book_and_the_metrics_does_not_double_it(world: WrittenWorld) -> None:
    correct(world, SECOND)

    class Killed(Exception):
        pass

    class Recording(Recorder):
        def write(self, table: TableContract, *_: object, **__: object) -> None:
            if table is tables.PERFORMANCE_METRICS:
                raise Killed

    with pytest.raises(Killed):
        measure(world.flywheel, Recording(world.lake, NAME), [SECOND])
    once = world.rows(tables.RESTATEMENTS)
    assert len(once) == 1
    measure(world.flywheel, Recorder(world.lake, NAME), [SECOND])
    assert world.rows(tables.RESTATEMENTS) == once


def test_a_second_correction_names_its_own_batch_alone(world: WrittenWorld) -> None:
    correct(world, SECOND)
    close(world, SECOND, THIRD)
    _, second = correct(world, SECOND, replies=1, hours=1)
    close(world, SECOND, THIRD)
    newest = max(world.rows(tables.RESTATEMENTS, SECOND), key=lambda row: row["recorded_at"])
    assert newest["caused_by"] == [second]


def test_two_corrections_before_one_close_both_caused_it(world: WrittenWorld) -> None:
    _, first = correct(world, SECOND)
    _, second = correct(world, SECOND, replies=300, hours=1)
    close(world, SECOND, THIRD)
    (row,) = [row for row in world.rows(tables.RESTATEMENTS, SECOND) if row["subject"] == "metric"]
    assert sorted(row["caused_by"]) == sorted([first, second])


def test_a_close_as_known_earlier_is_a_change_without_a_batch(world: WrittenWorld) -> None:
    correct(world, SECOND)
    close(world, SECOND, THIRD)
    measure(world.flywheel, Recorder(world.lake, NAME), [SECOND], LATER - timedelta(hours=1))
    rows = [row for row in world.rows(tables.RESTATEMENTS, SECOND) if row["subject"] == "metric"]
    assert [] in [row["caused_by"] for row in rows]


def test_the_range_is_exact(world: WrittenWorld) -> None:
    assert correction_due(world.lake, world.spec) is None
    correct(world, SECOND)
    due = correction_due(world.lake, world.spec)
    assert due is not None
    assert (due.touched, due.first, due.last) == ((SECOND,), SECOND, THIRD)
    close(world, SECOND, THIRD)
    assert correction_due(world.lake, world.spec) is None


def test_a_close_that_was_cut_off_is_due_again(world: WrittenWorld) -> None:
    correct(world, SECOND)
    measure(world.flywheel, Recorder(world.lake, NAME), [SECOND, THIRD])
    due = correction_due(world.lake, world.spec)
    assert due is not None
    assert (due.first, due.last) == (SECOND, THIRD)


def test_a_range_ends_before_a_cycle_that_was_never_closed(world: WrittenWorld) -> None:
    shutil.rmtree(world.paths.lake / "momentum" / f"flywheel={NAME}" / f"cycle={SECOND}")
    correct(world, FIRST)
    due = correction_due(world.lake, world.spec)
    assert due is not None
    assert (due.first, due.last) == (FIRST, FIRST)


# -- what people are shown -------------------------------------------------------------------------------------------
def test_the_metrics_asset_says_how_many_values_changed_and_how_well_files_matched(world: WrittenWorld) -> None:
    output, _ = correct(world, SECOND)
    shown = measure(world.flywheel, Recorder(world.lake, NAME), [SECOND, THIRD])
    assert (shown["values_changed"], shown["cycles_restated"]) == (1, 1)
    assert output in str(shown["largest_changes"])
    rates = [shown[name] for name in ("matched_rate", "late_rate", "unmatched_rate")]
    assert all(isinstance(rate, float) and 0 <= rate <= 1 for rate in rates)
    assert shown["matched_rate"] + shown["unmatched_rate"] == pytest.approx(1)  # type: ignore[operator]


def test_control_without_a_correction_no_value_changed(world: WrittenWorld) -> None:
    shown = measure(world.flywheel, Recorder(world.lake, NAME), [SECOND, THIRD])
    assert shown["values_changed"] == 0
    assert "largest_changes" not in shown


def test_the_scores_asset_shows_flipped_decisions_with_the_text(world: WrittenWorld) -> None:
    output, _ = correct(world, SECOND)
    recorder = Recorder(world.lake, NAME)
    measure(world.flywheel, recorder, [SECOND, THIRD])
    shown = score(world.flywheel, recorder, [SECOND, THIRD])
    flips = [row for row in world.rows(tables.RESTATEMENTS) if row["subject"] == "decision"]
    assert shown["decisions_flipped"] == len(flips) > 0
    (text,) = {row["text"] for row in world.rows(tables.PUBLISHED_OUTPUTS, SECOND) if row["output_id"] == output}
    line = next(line for line in str(shown["flipped"]).splitlines() if output in line)
    assert " ".join(text.split())[:40].replace("|", "\\|") in line


def test_a_table_of_a_thousand_changes_stays_short() -> None:
    rows = [
        {"cycle": FIRST, "output_id": f"o{number}", "subject": "metric", "metric": "m", "old_value": 0.1,
         "new_value": 0.1 + number / 10_000, "old_exposure": 10.0, "new_exposure": 10.0}
        for number in range(1_000)
    ]  # fmt: skip
    changes = pa.Table.from_pylist(rows, schema=restatements.no_changes().schema)
    shown = about_metrics(changes, {"m": RateMetric(kind="rate", successes="replies", exposure="sends")})
    assert shown["values_changed"] == 1_000
    lines = str(shown["largest_changes"]).splitlines()
    assert len(lines) == MOST_SHOWN + 4
    assert "o999" in lines[2]
    assert "| 10.0% | 20.0% |" in lines[2], "as its metric is written"
    assert "| 0.1 | 0.1999 |" in str(about_metrics(changes, {})["largest_changes"]), "without a metric, as numbers"
    assert "988 more in the table `restatements`" in lines[-1]


def test_a_cycle_whose_window_has_passed_is_closed_again_although_nothing_about_it_came(world: WrittenWorld) -> None:
    """Provisional is a matter of what is known: once newer facts are, the metrics of a ripe cycle are mature."""
    world.configure(measurement_window=2)
    close(world, THIRD)
    assert set(world.lake.values(tables.PERFORMANCE_METRICS, NAME, THIRD, "is_mature").to_pylist()) == {False}
    path = world.root / "outputs-later.csv"
    path.write_text(f"brief_id,week,segment,title\nb,{WEEKS[6]},garages,Later\n", encoding="utf-8")
    land_file(world.lake, world.spec, "leads", path, recorded_at=later(WEEKS[6]))
    due = correction_due(world.lake, world.spec)
    assert due is not None
    assert (due.touched, due.ripened, due.first, due.last) == ((), (THIRD,), THIRD, THIRD)
    assert "the measurement window" in due.words
    close(world, THIRD)
    assert correction_due(world.lake, world.spec) is None
    assert set(world.lake.values(tables.PERFORMANCE_METRICS, NAME, THIRD, "is_mature").to_pylist()) == {True}
