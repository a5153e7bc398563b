"""Replays: choices know nothing of their own week or later, lift comes from texts, one replay replaces another."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from flywheel_pipelines.errors import CycleOrderError, FlywheelError
from flywheel_pipelines.feedback.archive import ArchiveBatch
from flywheel_pipelines.feedback.archive.mapping import Measures
from flywheel_pipelines.lake import tables
from flywheel_pipelines.momentum.summary import Summary, summarise
from flywheel_pipelines.simulation.evaluation import archive_outcomes
from flywheel_pipelines.simulation.replay import ReplayPlan, measurements_of
from flywheel_pipelines.simulation.synthetic_archive import START, make_synthetic_archive
from flywheel_pipelines_tests.simulation.altered_archives import falsified, shuffled_texts
from flywheel_pipelines_tests.small_world import FLYWHEEL, WEEKS, SmallWorld, batch_of, spec

SIZE = {"weeks": 8, "briefs_per_week": 40, "candidates_per_brief": 4, "seed": 1, "n_broken": 0}
FALSE_FROM = WEEKS[5]
"""By then the flywheel has learned enough to choose by it."""


def lift(world: SmallWorld, plan: ReplayPlan) -> Summary:
    return summarise(archive_outcomes(world.lake, plan.spec, plan.archive), better="higher")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallWorld, ReplayPlan]:
    world = SmallWorld.make(tmp_path_factory.mktemp("real"), **SIZE)
    return world, world.replay()


@pytest.fixture(scope="module")
def deceived(real, tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """The same replay, but everything measured in the weeks from FALSE_FROM on is wrong."""
    world = SmallWorld(tmp_path_factory.mktemp("deceived"))
    world.replay(falsified(real[1].archive, FALSE_FROM))
    return world


# -- what choices know -----------------------------------------------------------------------------------------------
def test_choices_are_the_same_whatever_the_clicks_of_their_week_and_later(real, deceived: SmallWorld) -> None:
    until = [cycle for cycle in real[0].choices() if cycle <= FALSE_FROM]
    assert len(until) == 6
    for cycle in until:
        assert deceived.choices()[cycle] == real[0].choices()[cycle]


def test_control_choices_after_the_false_clicks_differ(real, deceived: SmallWorld) -> None:
    for cycle in WEEKS[6:8]:
        assert deceived.choices()[cycle] != real[0].choices()[cycle]


def test_everything_produced_up_to_the_false_week_is_the_same_byte_for_byte(real, deceived: SmallWorld) -> None:
    for table in (tables.BRIEFS, tables.CYCLE_MANIFEST, tables.GENERATED_OUTPUTS, tables.PUBLISHED_OUTPUTS):
        for cycle in WEEKS[:6]:
            versions = {world.lake.version(table, FLYWHEEL, cycle) for world in (real[0], deceived)}
            assert len(versions) == 1


def test_feedback_is_recorded_after_its_cycle_is_over(real) -> None:
    ledger = real[0].lake.read(tables.METRIC_LEDGER, FLYWHEEL, columns=["cycle", "recorded_at"]).to_pylist()
    assert all(row["recorded_at"].date() > row["cycle"] for row in ledger)
    manifests = real[0].lake.read(tables.CYCLE_MANIFEST, FLYWHEEL).to_pylist()
    assert all(row["knowledge_cutoff"].date() <= row["cycle"] for row in manifests if row["knowledge_cutoff"])


# -- where the lift comes from ---------------------------------------------------------------------------------------
def test_the_flywheel_has_a_lift_where_readers_have_preferences(real) -> None:
    found = lift(*real)
    assert found.interval is not None
    assert found.interval[0] > 0
    assert found.hit_rate is not None
    assert found.chance is not None
    assert found.hit_rate > found.chance


@pytest.mark.slow
def test_control_texts_shuffled_within_their_briefs_have_none(real, tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    found = lift(world, world.replay(shuffled_texts(real[1].archive)))
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]


@pytest.mark.slow
def test_control_readers_without_preferences_give_none(tmp_path: Path) -> None:
    world = SmallWorld.make(tmp_path, **SIZE, flat=True)
    found = lift(world, world.replay())
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]


def test_the_momentum_table_says_what_the_judgement_on_the_archive_says(real) -> None:
    """With full feedback the flywheel sees all there is, so its own figure is the true one."""
    world, plan = real
    last = world.lake.read(tables.MOMENTUM, FLYWHEEL, plan.cycles[-1]).to_pylist()
    assert next(row["lift"] for row in last if row["scope"] == "cumulative") == pytest.approx(lift(world, plan).lift)


# -- partial feedback ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def partial(real, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallWorld, ReplayPlan]:
    world = SmallWorld(tmp_path_factory.mktemp("partial"))
    return world, world.replay(real[1].archive, feedback="partial")


def measured_briefs(world: SmallWorld) -> dict[str, set[str]]:
    """The outputs that the ledger knows of, by brief."""
    outputs = world.lake.read(tables.GENERATED_OUTPUTS, FLYWHEEL, columns=["output_id", "brief_id"]).to_pylist()
    brief_of = {row["output_id"]: row["brief_id"] for row in outputs}
    found = defaultdict(set)
    for output in world.lake.read(tables.METRIC_LEDGER, FLYWHEEL, columns=["output_id"])["output_id"].to_pylist():
        found[brief_of[output]].add(output)
    return found


def test_partial_feedback_measures_the_choice_and_one_control_of_each_brief(partial) -> None:
    published = defaultdict(set)
    arms = defaultdict(list)
    for row in partial[0].lake.read(tables.PUBLISHED_OUTPUTS, FLYWHEEL).to_pylist():
        published[row["brief_id"]].add(row["output_id"])
        arms[row["brief_id"]].append(row["arm"])
    assert measured_briefs(partial[0]) == published
    assert {tuple(sorted(found)) for found in arms.values()} == {("control", "flywheel")}


def test_control_full_feedback_measures_every_candidate(real) -> None:
    assert {len(outputs) for outputs in measured_briefs(real[0]).values()} == {4}


def test_partial_feedback_is_judged_on_candidates_that_the_flywheel_never_saw(partial) -> None:
    world, plan = partial
    outcomes = archive_outcomes(world.lake, plan.spec, plan.archive)
    assert set(outcomes["n_measured"].to_pylist()) == {4}


# -- replacing -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_second_replay_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    small = {"weeks": 2, "briefs_per_week": 3, "seed": 5}
    once, twice = SmallWorld.make(tmp_path / "once", **small), SmallWorld.make(tmp_path / "twice", **small)
    other = make_synthetic_archive(tmp_path / "other.csv.gz", weeks=3, briefs_per_week=4, seed=6)
    twice.replay(batch_of(other.path), feedback="partial")
    first = twice.fingerprint()
    twice.replay()
    once.replay()
    assert twice.fingerprint() == once.fingerprint() != first


def test_the_ui_shows_the_cycles_of_the_last_replay_only(copied: SmallWorld, tmp_path: Path) -> None:
    short = make_synthetic_archive(tmp_path / "short.csv.gz", weeks=1, briefs_per_week=2)
    copied.replay(batch_of(short.path), keep_runs=True)
    with dg.DagsterInstance.get() as instance:
        found = instance.get_materialized_partitions(dg.AssetKey([FLYWHEEL, "momentum"]))
    assert found == {START.isoformat()}


def test_data_that_no_replay_brought_is_not_replaced(copied: SmallWorld) -> None:
    header = {
        "batch_id": "by-hand", "source": "mailer/january.csv", "recorded_at": datetime(2026, 1, 1, tzinfo=UTC),
        "n_rows": 0, "n_quarantined": 0, "first_cycle": None, "last_cycle": None,
    }  # fmt: skip
    copied.lake.append_batch(FLYWHEEL, header, {})
    before = copied.fingerprint()
    with pytest.raises(FlywheelError, match=r"no replay brought \(mailer/january\.csv\).*FLYWHEEL_DATA_DIR="):
        copied.replay()
    assert copied.fingerprint() == before


def test_a_correction_appended_by_hand_is_such_data(copied: SmallWorld) -> None:
    copied.correct(WEEKS[0])
    with pytest.raises(FlywheelError, match="a correction"):
        copied.replay()


# -- archives that do not fit the flywheel ---------------------------------------------------------------------------
def test_an_archive_from_before_the_flywheels_start_is_refused_with_the_fix() -> None:
    archive = batch_of_weeks(START)
    later = spec().model_copy(update={"start": WEEKS[1]})
    with pytest.raises(CycleOrderError) as caught:
        ReplayPlan(later, archive, "full").check("mine.csv")
    said = str(caught.value)
    assert f"mine.csv: its first cycle is {START}, before the flywheel {FLYWHEEL} starts ({WEEKS[1]})" in said
    assert f"Set start: {START}" in said


def test_an_archive_from_the_future_is_refused() -> None:
    with pytest.raises(CycleOrderError, match="its last cycle is 2090-01-02, which has not begun"):
        ReplayPlan(spec(), batch_of_weeks(date(2090, 1, 2)), "full").check("mine.csv")


def test_counts_that_the_flywheels_metric_does_not_look_for_are_refused_with_the_fix() -> None:
    """Otherwise a replay would go through every week and learn nothing, without a word."""
    archive = dataclasses.replace(batch_of_weeks(START), measures=Measures(successes="opens", exposure="sends"))
    with pytest.raises(FlywheelError, match=r"recorded_as: \{successes: clicks, exposure: impressions\}"):
        ReplayPlan(spec(), archive, "full").check("mine.csv")


def test_control_an_archive_from_the_flywheels_start_on_is_not() -> None:
    ReplayPlan(spec().model_copy(update={"start": START}), batch_of_weeks(START), "full").check("mine.csv")


def batch_of_weeks(start: date) -> ArchiveBatch:
    with tempfile.TemporaryDirectory() as folder:
        return batch_of(make_synthetic_archive(Path(folder) / "a.csv.gz", weeks=1, briefs_per_week=2, start=start).path)


def test_weeks_without_briefs_are_opened_and_closed_too(tmp_path: Path) -> None:
    world = SmallWorld.make(tmp_path, weeks=3, briefs_per_week=3, n_broken=0)
    whole = batch_of(world.archive)
    keep = [cycle != WEEKS[1] for cycle in whole.candidates["cycle"].to_pylist()]
    measured = [cycle != WEEKS[1] for cycle in whole.measurements["cycle"].to_pylist()]
    holed = dataclasses.replace(
        whole,
        candidates=whole.candidates.filter(pa.array(keep)),
        measurements=whole.measurements.filter(pa.array(measured)),
    )
    plan = world.replay(holed)
    assert plan.cycles == WEEKS[:3]
    assert world.lake.cycles(tables.MOMENTUM, FLYWHEEL) == WEEKS[:3]
    assert measurements_of(holed, WEEKS[1]) == []
