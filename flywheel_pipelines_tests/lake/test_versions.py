"""The input-version table says which cycles a change touches, and only those."""

from datetime import date
from pathlib import Path

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import BRIEFS, GENERATED_OUTPUTS, METRIC_LEDGER, PERFORMANCE_METRICS
from flywheel_pipelines.lake.versions import Input, changed_inputs, record_inputs, stale_cycles
from flywheel_pipelines_tests.lake.test_store import briefs, header, measurements

FIRST, SECOND = date(2026, 1, 5), date(2026, 1, 12)


def test_a_changed_input_makes_exactly_its_consumers_stale(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for cycle in (FIRST, SECOND):
        lake.write(BRIEFS, briefs("a"), flywheel="f", cycle=cycle)
        record_inputs(lake, GENERATED_OUTPUTS, "f", cycle, [(BRIEFS, cycle)])
    assert stale_cycles(lake, "f", [GENERATED_OUTPUTS]) == {}
    lake.write(BRIEFS, briefs("a", "b"), flywheel="f", cycle=SECOND)
    assert stale_cycles(lake, "f", [GENERATED_OUTPUTS]) == {"generated_outputs": [SECOND]}


def test_a_late_batch_makes_the_cycle_it_is_about_stale(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for cycle in (FIRST, SECOND):
        record_inputs(lake, PERFORMANCE_METRICS, "f", cycle, [(METRIC_LEDGER, cycle)])
    lake.append_batch("f", header("late"), {METRIC_LEDGER: measurements("late", FIRST)})
    assert stale_cycles(lake, "f", [PERFORMANCE_METRICS]) == {"performance_metrics": [FIRST]}


def test_rewriting_the_same_content_makes_nothing_stale(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write(BRIEFS, briefs("a"), flywheel="f", cycle=FIRST)
    record_inputs(lake, GENERATED_OUTPUTS, "f", FIRST, [(BRIEFS, FIRST)])
    lake.write(BRIEFS, briefs("a"), flywheel="f", cycle=FIRST)
    assert stale_cycles(lake, "f", [GENERATED_OUTPUTS]) == {}


def test_a_partition_of_another_flywheel_is_an_input_like_any_other(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for cycle in (FIRST, SECOND):
        for flywheel in ("theirs", "f", "of_nobody"):
            lake.write(BRIEFS, briefs("a"), flywheel=flywheel, cycle=cycle)
        record_inputs(lake, GENERATED_OUTPUTS, "f", cycle, [(BRIEFS, cycle), Input(BRIEFS, cycle, "theirs")])
    lake.write(BRIEFS, briefs("b"), flywheel="of_nobody", cycle=SECOND)
    assert stale_cycles(lake, "f", [GENERATED_OUTPUTS]) == {}
    lake.write(BRIEFS, briefs("b"), flywheel="theirs", cycle=SECOND)
    [changed] = changed_inputs(lake, "f", [GENERATED_OUTPUTS])
    assert (changed.cycle, changed.input.table) == (SECOND, "theirs/briefs")
    assert changed.input.version == lake.version(BRIEFS, "theirs", SECOND)
