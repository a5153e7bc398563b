"""The lake's promises: contracts hold, equal data gives equal bytes, facts are never replaced, reads are pruned."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.errors import ContractError
from flywheel_pipelines.lake.parts import LedgerPart
from flywheel_pipelines.lake.store import ABSENT, CycleWindow, Lake, write_atomically
from flywheel_pipelines.lake.tables import BATCHES, BRIEFS, METRIC_LEDGER, QUARANTINE
from flywheel_pipelines_tests.lake_samples import FLYWHEEL, write_sample_lake

MONDAY, NEXT = date(2026, 1, 5), date(2026, 1, 12)


def briefs(*names: str) -> pa.Table:
    rows = [{"brief_id": name, "segment": "s", "title": name.upper(), "n_candidates": 2} for name in names]
    return pa.Table.from_pylist(rows, schema=BRIEFS.schema)


COUNT = BRIEFS.columns.index("n_candidates")


def header(batch_id: str, recorded_at: datetime = datetime(2026, 1, 12, tzinfo=UTC)) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "source": "test",
        "recorded_at": recorded_at,
        "n_rows": 1,
        "n_quarantined": 0,
        "first_cycle": MONDAY,
        "last_cycle": NEXT,
    }


def measurements(batch_id: str, *cycles: date, value: float = 1.0) -> pa.Table:
    rows = [
        {
            "cycle": cycle,
            "output_id": f"o{index}",
            "measure": "clicks",
            "measured_on": cycle,
            "value": value,
            "batch_id": batch_id,
            "recorded_at": datetime(2026, 1, 12, tzinfo=UTC),
            "source_row": index + 1,
        }
        for index, cycle in enumerate(cycles)
    ]
    return pa.Table.from_pylist(rows, schema=METRIC_LEDGER.schema.insert(0, pa.field("cycle", pa.date32())))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_rows_come_back_in_key_order_with_their_cycle(lake: Lake) -> None:
    lake.write(BRIEFS, briefs("b", "a"), flywheel="f", cycle=MONDAY)
    found = lake.read(BRIEFS, "f")
    assert found.column("brief_id").to_pylist() == ["a", "b"]
    assert set(found.column("cycle").to_pylist()) == {MONDAY}
    assert [field.name for field in found.schema] == ["cycle", *BRIEFS.columns]


def test_writing_twice_counts_once(lake: Lake) -> None:
    for _ in range(2):
        lake.write(BRIEFS, briefs("a"), flywheel="f", cycle=MONDAY)
    assert lake.read(BRIEFS, "f").num_rows == 1


def test_equal_rows_in_any_order_give_equal_bytes_and_other_rows_do_not(lake: Lake) -> None:
    first = lake.write(BRIEFS, briefs("a", "b"), flywheel="f", cycle=MONDAY)
    bytes_before = first.path.read_bytes()
    again = lake.write(BRIEFS, briefs("b", "a"), flywheel="f", cycle=MONDAY)
    assert again.path.read_bytes() == bytes_before
    assert again.version == first.version == lake.version(BRIEFS, "f", MONDAY)
    other = lake.write(BRIEFS, briefs("a", "c"), flywheel="f", cycle=MONDAY)
    assert other.version != first.version


def test_nothing_written_yet_reads_as_an_empty_typed_table(lake: Lake) -> None:
    found = lake.read(BRIEFS, "f", MONDAY, columns=["brief_id"])
    assert found.schema.names == ["brief_id"]
    assert found.num_rows == 0
    assert lake.version(BRIEFS, "f", MONDAY) == ABSENT


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (briefs("a").drop_columns(["title"]), "missing column(s) title"),
        (briefs("a").append_column("mood", pa.array(["fine"])), "unknown column(s) mood"),
        (briefs("a").set_column(COUNT, "n_candidates", pa.array(["two"])), "column n_candidates: found type string"),
        (briefs("a").set_column(COUNT, "n_candidates", pa.array([2.5])), "column n_candidates: found type double"),
        (briefs("a").set_column(1, "segment", pa.array([None], pa.string())), "column segment: 1 of 1 values are null"),
        (briefs("a", "a"), "repeat the key (brief_id)"),
    ],
    ids=["missing", "unknown", "text for a number", "fraction for a whole", "null", "key twice"],
)
def test_schema_drift_is_refused_with_the_column_named(lake: Lake, broken: pa.Table, named: str) -> None:
    lake.write(BRIEFS, briefs("kept"), flywheel="f", cycle=MONDAY)
    with pytest.raises(ContractError) as refusal:
        lake.write(BRIEFS, broken, flywheel="f", cycle=MONDAY)
    assert named in str(refusal.value)
    assert lake.read(BRIEFS, "f").column("brief_id").to_pylist() == ["kept"]


def test_only_the_cycles_asked_for_are_opened(lake: Lake) -> None:
    lake.write(BRIEFS, briefs("a"), flywheel="f", cycle=MONDAY)
    unreadable = lake.write(BRIEFS, briefs("b"), flywheel="f", cycle=NEXT)
    unreadable.path.write_bytes(b"not parquet")
    assert lake.read(BRIEFS, "f", CycleWindow(last=MONDAY)).num_rows == 1
    with pytest.raises(Exception, match="magic bytes"):
        lake.read(BRIEFS, "f")


def test_a_condition_reaches_the_files(lake: Lake) -> None:
    lake.write(BRIEFS, briefs("a", "b"), flywheel="f", cycle=MONDAY)
    assert lake.read(BRIEFS, "f", where="brief_id = 'b'").column("title").to_pylist() == ["B"]


def test_a_batch_is_appended_once(lake: Lake) -> None:
    facts = {METRIC_LEDGER: measurements("x", MONDAY, NEXT)}
    assert lake.append_batch("f", header("x"), facts) is True
    assert lake.append_batch("f", header("x"), facts) is False
    assert lake.read(METRIC_LEDGER, "f").num_rows == 2
    assert lake.read(BATCHES, "f").num_rows == 1


def test_a_batch_cut_off_before_its_end_does_not_count_and_can_be_repeated(lake: Lake) -> None:
    facts = measurements("x", MONDAY, NEXT)
    folder = lake.partition_dir(METRIC_LEDGER, flywheel="f", cycle=MONDAY)
    write_atomically(folder / "x.parquet", METRIC_LEDGER.conform(facts.slice(0, 1).drop_columns(["cycle"])))
    assert lake.read(METRIC_LEDGER, "f").num_rows == 0
    lake.append_batch("f", header("x"), {METRIC_LEDGER: facts})
    assert lake.read(METRIC_LEDGER, "f").num_rows == 2


def test_a_ledger_cannot_be_replaced(lake: Lake) -> None:
    with pytest.raises(ContractError, match="is a ledger"):
        lake.write(QUARANTINE, QUARANTINE.empty(), flywheel="f")


def test_the_newest_batch_is_known_without_reading(lake: Lake) -> None:
    assert lake.latest_batch("f") is None
    for day in (20, 13, 16):
        lake.append_batch("f", header(f"b{day}", datetime(2026, 1, day, 7, tzinfo=UTC)), {})
    for marker in lake.partition_dir(BATCHES, flywheel="f").glob("*.parquet"):
        marker.write_bytes(b"unreadable")
    assert lake.latest_batch("f") == datetime(2026, 1, 20, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("microseconds", "newest"), [(-1, "2026-01-13T07:00:00"), (0, "2026-01-16T07:00:01"), (1, "2026-01-16T07:00:01")]
)
def test_the_newest_batch_up_to_an_instant_is_known_to_the_microsecond(
    lake: Lake, microseconds: int, newest: str
) -> None:
    """Names carry whole seconds, and two batches of one second may lie on both sides of the instant."""
    at = datetime(2026, 1, 16, 7, 0, 1, 500_000, tzinfo=UTC)
    for number, recorded_at in enumerate([datetime(2026, 1, 13, 7, tzinfo=UTC), at, datetime(2026, 1, 20, tzinfo=UTC)]):
        lake.append_batch("f", header(f"b{number}", recorded_at), {})
    found = lake.latest_batch("f", up_to=at + timedelta(microseconds=microseconds))
    assert found is not None
    assert f"{found:%Y-%m-%dT%H:%M:%S}" == newest


def test_before_the_first_batch_there_is_no_newest(lake: Lake) -> None:
    lake.append_batch("f", header("x"), {})
    assert lake.latest_batch("f", up_to=datetime(2020, 1, 1, tzinfo=UTC)) is None


# -- parts -----------------------------------------------------------------------------------------------------------
def part(cycle: date, rows: pa.Table) -> LedgerPart:
    return LedgerPart(cycle, lambda: rows.drop_columns(["cycle"]))


def encoded(rows: pa.Table) -> pa.Table:
    """The same rows with their texts as dictionaries."""
    texts = [name for name in rows.column_names if pa.types.is_string(rows.schema.field(name).type)]
    for name in texts:
        rows = rows.set_column(rows.column_names.index(name), name, rows.column(name).dictionary_encode())
    return rows


def test_parts_read_back_as_if_they_were_one_table(lake: Lake, tmp_path: Path) -> None:
    rows = {cycle: measurements("x", cycle) for cycle in (MONDAY, NEXT)}
    parts = [part(cycle, encoded(table)) for cycle, table in rows.items()]
    assert lake.append_batch("f", header("x"), {}, {METRIC_LEDGER: parts})
    other = Lake(tmp_path / "other")
    other.append_batch("f", header("x"), {METRIC_LEDGER: pa.concat_tables(rows.values())})
    assert lake.read(METRIC_LEDGER, "f").equals(other.read(METRIC_LEDGER, "f"))


def test_a_part_that_fails_leaves_a_batch_that_does_not_count_and_can_be_repeated(lake: Lake) -> None:
    def fail() -> pa.Table:
        raise RuntimeError("the machine went away")

    good = part(MONDAY, measurements("x", MONDAY))
    with pytest.raises(RuntimeError):
        lake.append_batch("f", header("x"), {}, {METRIC_LEDGER: [good, LedgerPart(NEXT, fail)]})
    assert lake.read(METRIC_LEDGER, "f").num_rows == 0
    assert lake.append_batch("f", header("x"), {}, {METRIC_LEDGER: [good]}) is True
    assert lake.read(METRIC_LEDGER, "f").num_rows == 1


def test_a_part_that_drifts_from_the_contract_is_refused(lake: Lake) -> None:
    good = measurements("x", MONDAY)
    wrong = {
        "found the columns": good.drop_columns(["value"]),
        "column value: found type string": good.set_column(4, "value", pa.array(["1"])),
        "column output_id: 1 of 1 values are null": good.set_column(1, "output_id", pa.array([None], pa.string())),
    }
    for words, rows in wrong.items():
        with pytest.raises(ContractError, match=words):
            lake.append_batch("f", header("x"), {}, {METRIC_LEDGER: [part(MONDAY, rows)]})
    assert lake.read(BATCHES, "f").num_rows == 0


def test_the_files_of_one_batch_are_told_by_cycle(lake: Lake) -> None:
    lake.append_batch("f", header("x"), {METRIC_LEDGER: measurements("x", MONDAY, NEXT)})
    lake.append_batch("f", header("y"), {METRIC_LEDGER: measurements("y", NEXT)})
    assert list(lake.files_of_batch(METRIC_LEDGER, "f", "x")) == [MONDAY, NEXT]
    assert list(lake.files_of_batch(METRIC_LEDGER, "f", "y")) == [NEXT]
    assert lake.batch_header("f", "z") is None


def test_dropping_one_flywheel_leaves_the_other(lake: Lake) -> None:
    for name in ("f", "g"):
        lake.write(BRIEFS, briefs("a"), flywheel=name, cycle=MONDAY)
        lake.append_batch(name, header("x"), {METRIC_LEDGER: measurements("x", MONDAY)})
    lake.drop("f")
    assert lake.read(BRIEFS, "f").num_rows == lake.read(METRIC_LEDGER, "f").num_rows == 0
    assert lake.read(BRIEFS, "g").num_rows == lake.read(METRIC_LEDGER, "g").num_rows == 1


# -- files that this project did not write ----------------------------------------------------------------------------
def test_a_file_of_the_lake_with_other_columns_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_sample_lake(lake)
    path = next(iter(lake.ledger_files(METRIC_LEDGER, FLYWHEEL, CycleWindow()))).path
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["value"]), path)
    with pytest.raises(ContractError, match=r"no file of metric_ledger: it has no column value; found output_id"):
        lake.read(METRIC_LEDGER, FLYWHEEL)
