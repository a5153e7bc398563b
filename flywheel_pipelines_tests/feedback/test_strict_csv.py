"""The fast reader gives exactly the cells and row numbers of the careful one, or leaves the file to it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.feeds.strict_csv import DoubtError, read_strictly
from flywheel_pipelines.feedback.files import read_table

COLUMNS = ["x", "y"]
Cells = list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


def strictly(path: Path, connection: duckdb.DuckDBPyConnection, pool: ThreadPoolExecutor) -> Cells | str:
    """Row number and cells, or why the file is in doubt."""
    connection.execute("drop table if exists cells")
    try:
        n_rows = read_strictly(connection, path, COLUMNS, pool)
    except DoubtError as doubt:
        return str(doubt)
    rows = connection.execute(
        "select rowid + 1, coalesce(c0, ''), coalesce(c1, '') from cells order by rowid"
    ).fetchall()
    assert len(rows) == n_rows
    return rows  # pyright: ignore[reportReturnType]


def carefully(path: Path) -> Cells:
    """The same of the careful reader; a row or cell that it puts aside makes the file a doubtful one."""
    table = read_table(path, COLUMNS)
    if table.broken_rows or table.broken_cells or table.notes:
        return []
    return [(row["source_row"], row["c0"] or "", row["c1"] or "") for row in table.rows.to_pylist()]


def check(path: Path, connection: duckdb.DuckDBPyConnection, pool: ThreadPoolExecutor) -> bool:
    """Compare the readers; whether the strict one took the file."""
    try:
        found = strictly(path, connection, pool)
    except InputFileError:
        return False
    if isinstance(found, str):
        return False
    assert found == carefully(path)
    return True


ODD = [
    "a",
    "b",
    "1",
    "é",
    " ",
    ",",
    ",,",
    '"',
    '""',
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "'",
    "#",
    "\\",
    "\t",
    ";",
    "\0",
    "total",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ODD), max_size=14), st.sampled_from(["x,y", "x;y", "x,y,z", "x", '"x",y', "y,x"]))
def test_any_text_gives_the_same_cells_or_a_doubt(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    pool: ThreadPoolExecutor,
    pieces: list[str],
    header: str,
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(f"{header}\n{''.join(pieces)}".encode())
    check(path, connection, pool)


cells = st.text(st.sampled_from("ab1,é\"\n ';"), max_size=5)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_any_well_formed_file_gives_the_same_cells_or_a_doubt(
    tmp_path: Path,
    connection: duckdb.DuckDBPyConnection,
    pool: ThreadPoolExecutor,
    rows: list[tuple[str, str]],
    line_break: str,
    quotes_all: bool,
    ends: bool,
) -> None:
    def written(cell: str) -> str:
        must = quotes_all or any(char in cell for char in ',"\n')
        return '"' + cell.replace('"', '""') + '"' if must else cell

    lines = ["x,y", *(",".join(map(written, row)) for row in rows)]
    path = tmp_path / "file.csv"
    path.write_bytes((line_break.join(lines) + (line_break if ends else "")).encode())
    check(path, connection, pool)


@pytest.mark.parametrize(
    "content",
    [
        "x,y\na,1\nb,2\n",
        "x,y\r\na,1\r\nb,2\r\n",
        "x,y\na,1\n\nb,2",
        "x,y\na,\nb,2\n",
        'x,y\n"a, b",1\n"c ""d""",2\n',
        "y;z;x\n1;;a\n2;3;b\n",
        "x\ty\na\t1\nb\t2\n",
    ],
    ids=["plain", "windows", "an empty line", "an empty last cell", "quotes", "other order", "tabs"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_plain_files_are_read_strictly(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, pool: ThreadPoolExecutor, content: str, packed: bool
) -> None:
    path = tmp_path / ("file.csv.gz" if packed else "file.csv")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert check(path, connection, pool)


@pytest.mark.parametrize(
    "content",
    [
        b"x,y\na,1,\n",
        b"x,y\na,1\nb\n",
        b'x,y\na,"1\n2"\n',
        b"x,y\na,1\rb,2\n",
        b"x,y\na,caf\xe9\n",
        b"x,y\na,1\0\n",
        b"\xef\xbb\xbfx,y\na,1\n",
        b"# Start date: 20260101\n# End date: 20260131\nx,y\na,1\n",
        b"x,y\na,1\nb,2\nTotal,3\n",
        b"x,y\na," + b"1" * 30_000 + b"\n",
        b'x,y\n"a,1\n',
        b"x,y\n",
    ],
    ids=[
        "a cell too many", "a cell too few", "a line break in a cell", "mixed line breaks", "not UTF-8", "NUL",
        "a mark", "comments", "totals", "a long cell", "an open quote", "no rows",
    ],
)  # fmt: skip
def test_control_what_is_in_doubt_is_left_to_the_careful_reader(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, pool: ThreadPoolExecutor, content: bytes
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    assert isinstance(strictly(path, connection, pool), str)


def test_a_trailing_delimiter_is_seen_where_the_file_is_read_in_pieces(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in range(1, 12):
        monkeypatch.setattr("flywheel_pipelines.feedback.feeds.strict_csv._CHUNK", size)
        path = tmp_path / "file.csv"
        for line_break in ("\n", "\r\n"):
            path.write_bytes(f"x,y{line_break}a,1{line_break}b,2,{line_break}c,3{line_break}".encode())
            assert isinstance(strictly(path, connection, pool), str)
            path.write_bytes(f"x,y{line_break}a,1{line_break}b,2{line_break}c,3{line_break}".encode())
            assert not isinstance(strictly(path, connection, pool), str)
