"""The file of a pull: the same rows are the same file, however many there are and however they come."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.feedback.sources.pulled_file import workplace, write_pulled
from flywheel_pipelines.feedback.sources.rows import SourceRows
from flywheel_pipelines.feedback.sources.sql import asks_for_days, keeps_order
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.feedback.sources.samples import FIRST, LAST, QUERY, Puller
from flywheel_pipelines_tests.postgres import Postgres


# -- the same rows ---------------------------------------------------------------------------------------------------
def test_the_same_pull_twice_is_one_file(puller: Puller) -> None:
    first = puller.pull()
    assert first is not None
    before = first.read_bytes(), first.stat().st_mtime_ns
    assert puller.pull() == first
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert puller.left() == [first.name]


def test_the_same_rows_in_another_order_are_the_same_bytes(
    postgres: Postgres, puller: Puller, database: str, tmp_path: Path
) -> None:
    rows = [f"('{name}', '2026-01-07', {number}, NULL)" for number, name in enumerate("bcdef")]
    postgres.execute(f"INSERT INTO mailer VALUES {', '.join(rows)}", database=database)
    first = puller.pull()
    postgres.execute("CREATE TABLE turned AS SELECT * FROM mailer ORDER BY output_id DESC", database=database)
    other = Puller(puller.url, tmp_path / "other").pull(QUERY.replace("mailer", "turned"))
    assert first is not None
    assert other is not None
    assert (other.name, other.read_bytes()) == (first.name, first.read_bytes())


def test_control_one_other_value_is_another_file(postgres: Postgres, puller: Puller, database: str) -> None:
    first = puller.pull()
    postgres.execute("UPDATE mailer SET replies = 4", database=database)
    second = puller.pull()
    assert first is not None
    assert second is not None
    assert first.name != second.name
    assert puller.left() == sorted([first.name, second.name])


def test_a_source_that_goes_back_to_what_it_said_is_heard(postgres: Postgres, puller: Puller, database: str) -> None:
    """The third file has the rows of the first, and must not be taken for it: the second one was wrong."""
    first = puller.pull()
    postgres.execute("UPDATE mailer SET replies = 4", database=database)
    second = puller.pull()
    postgres.execute("UPDATE mailer SET replies = 3", database=database)
    third = puller.pull()
    assert len({first, second, third}) == 3
    assert first is not None
    assert third is not None
    assert pq.read_table(third).equals(pq.read_table(first))
    assert third.read_bytes() != first.read_bytes()
    assert puller.pull() == third


def test_an_order_by_is_kept_since_the_lower_row_corrects(puller: Puller) -> None:
    values = "SELECT * FROM (VALUES ('a', 1), ('b', 2), ('c', 3)) AS v (output_id, sends)"
    assert puller.table(f"{values} ORDER BY sends DESC")["sends"].to_pylist() == [3, 2, 1]
    assert puller.table(values)["sends"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("SELECT 1 ORDER  BY 1", True),
        ("select 1\norder by x desc", True),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT * FROM (SELECT 1 ORDER BY 1) AS t", False),
        ("SELECT 'order by' -- order by\n /* order by */", False),
        ('SELECT "order by" FROM t', False),
        ("SELECT f((a)) FROM t ORDER BY f((a))", True),
    ],
)
def test_only_an_order_of_the_whole_query_counts(query: str, kept: bool) -> None:
    assert keeps_order(query) is kept


def test_a_query_without_days_speaks_for_no_days() -> None:
    assert asks_for_days(QUERY)
    assert not asks_for_days("SELECT * FROM mailer WHERE day >= :first_day")
    assert not asks_for_days("SELECT a::last_day, :first_day")


# -- size ------------------------------------------------------------------------------------------------------------
N_ROWS = 100_000
WIDE = "SELECT * FROM wide WHERE day BETWEEN :first_day AND :last_day"
MEASURED = """
import re
from datetime import date, timedelta
from pathlib import Path
from flywheel_pipelines_tests.feedback.sources.samples import Puller
puller, day = Puller({url!r}, Path({root!r})), date(2026, 1, 5)
def highest():
    # Linux hands the peak of the process that started this one down in ru_maxrss; VmHWM is of this program alone.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
puller.pull({query!r}, day, day)
before = highest()
{work}
print((highest() - before) // 1024)
"""


@pytest.fixture(scope="module")
def wide(postgres: Postgres) -> str:
    """A database with 100,000 rows of 2 KB, spread over ten days."""
    database = postgres.new_database()
    postgres.execute(
        f"CREATE TABLE wide AS SELECT 'out' || g AS output_id, date '2026-01-05' + g % 10 AS day, g AS sends, "
        f"repeat(md5(g::text), 64) AS note FROM generate_series(1, {N_ROWS}) AS g",
        database=database,
    )
    return database


def memory_grown(puller: Puller, query: str, work: str) -> int:
    """MB by which work in a process of its own raises the highest memory that a tenth of the rows had taken."""
    script = MEASURED.format(url=puller.url, root=str(puller.root), query=query, work=work)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("query", [WIDE, f"{WIDE} ORDER BY sends"], ids=["sorted by us", "in its own order"])
def test_100_000_rows_stream_within_bounded_memory(postgres: Postgres, wide: str, tmp_path: Path, query: str) -> None:
    puller = Puller(postgres.url(wide), tmp_path)
    grown = memory_grown(puller, query, f"puller.pull({query!r}, day, day + timedelta(days=9))")
    (path,) = puller.folder.glob("2026-01-05_2026-01-14_*.parquet")
    with pq.ParquetFile(path) as file:
        assert file.metadata.num_rows == N_ROWS
    # The rows are 200 MB.
    assert grown < 130


def test_control_fetching_them_all_takes_what_they_weigh(postgres: Postgres, wide: str, tmp_path: Path) -> None:
    fetched = "connect().exec_driver_sql('TABLE wide').fetchall()"
    work = f"import sqlalchemy; rows = sqlalchemy.create_engine(puller.url).{fetched}"
    assert memory_grown(Puller(postgres.url(wide), tmp_path), WIDE, work) > 200


# -- any sequence of pulls -------------------------------------------------------------------------------------------
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.booleans(),
    st.binary(max_size=4),
)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12), st.randoms(use_true_random=False), st.data())
def test_a_file_depends_on_its_rows_and_on_nothing_else(rows: list[tuple], random: Random, data: st.DataObject) -> None:
    """Neither on their order, nor on how they come in chunks: name and bytes are the same."""
    shuffled = random.sample(rows, len(rows))
    cut = data.draw(st.integers(0, len(rows)))
    assert written([rows]) == written([part for part in (shuffled[:cut], shuffled[cut:]) if part])


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), VALUES)
def test_control_one_row_more_is_another_file(rows: list[tuple], value: object) -> None:
    assert written([rows])[0] != written([[*rows, (value, value)]])[0]


def written(chunks: list[list[tuple]]) -> tuple[str, bytes]:
    """Name and bytes of the file that these rows end in."""
    with tempfile.TemporaryDirectory() as folder, workplace(Path(folder), feed="mailer") as place:
        rows = SourceRows(["first", "second"], iter(chunks), in_order=False)
        path = write_pulled(rows, place, Path(folder), FIRST, LAST)
        assert path is not None
        return path.name, path.read_bytes()


def test_many_rows_are_merged_in_the_order_of_a_sort() -> None:
    """More than two runs, whose heads are read piece by piece."""
    numbers = [(number * 7919) % 50_021 for number in range(50_021)]
    chunks = [[(f"{number:06}", None)] for number in numbers]
    with tempfile.TemporaryDirectory() as folder, workplace(Path(folder), feed="mailer") as place:
        rows = SourceRows(["first", "second"], iter(chunks), in_order=False)
        path = write_pulled(rows, place, Path(folder), FIRST, LAST)
        assert path is not None
        found = pq.read_table(path)["first"].to_pylist()
    assert found == [f"{number:06}" for number in range(50_021)]
