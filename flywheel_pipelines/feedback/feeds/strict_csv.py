"""Plain CSV files of millions of rows, read by DuckDB at its full speed, and only where nothing is in doubt.

Here: which files are plain, reading them, and proving afterwards that every cell is where the careful reader
(`feedback.files`) would put it. Whatever is in doubt raises DoubtError, and the careful reader takes the file.
Not here: what cells mean.

What DuckDB 1.5 does not refuse though the careful reader would, found by trying random texts: one empty cell too many
at the end of a row is dropped without a word. So where lines end with a delimiter, delimiters are counted: those of the
file must be those between the cells plus those within them. Broken, ragged and over-long rows, bytes that are not UTF-8
and unclosed quotes are refused by DuckDB; NUL bytes, stray carriage returns, comments and rows of totals are looked for
here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np

from flywheel_pipelines.feedback.files.cells import CELL_LIMIT
from flywheel_pipelines.feedback.files.layout import TableLayout, find_tables
from flywheel_pipelines.feedback.files.opening import FileFormat, Source, open_source
from flywheel_pipelines.feedback.files.packed import Packing, open_bytes

MAX_BLANK_LINES = 1_000
"""Empty lines that are skipped here; the careful reader takes more, up to its own limit."""
_CHUNK = 1 << 20
"""Bytes at a time: what is compared stays in the processor's cache."""
_OPEN_END = "open end"
_ENDS = "lines that end with a delimiter"


class DoubtError(Exception):
    """The file is better read by the careful reader; the text says why."""


def hash_in_background(path: Path, pool: ThreadPoolExecutor) -> Future[str]:
    """The hash of a file's bytes, while something else goes on."""
    return pool.submit(_hash, path)


def read_strictly(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], pool: ThreadPoolExecutor
) -> int:
    """Make the table `cells` of a plain CSV file: c0, c1, ... in the order of `columns`; its number of rows.

    The row numbers are `rowid + 1`. Empty cells may be null.

    Raises:
        DoubtError: the careful reader should have the file; a table `cells` may be left behind.
        InputFileError: the file cannot be used by any reader.
    """
    source = open_source(path)
    table = _plain_layout(source, columns)
    looking = pool.submit(_look, source, table.delimiter)
    # What is packed is looked through first: the look has the limits that keep a bomb from unpacking.
    if source.packing is Packing.GZIP:
        _check_bytes(looking.result())
    names = {header: f"h{position}" for position, header in enumerate(table.header)}
    wanted = [f"{names[header]} as c{position}" for position, header in enumerate(columns)]
    first = f"c{list(columns).index(table.header[0])}" if table.header[0] in columns else "first"
    wanted += ["h0 as first"] if first == "first" else []
    _run(connection, f"create table cells as select {', '.join(wanted)} from {_scan(path, table)}")
    found = looking.result()
    _check_bytes(found)
    n_rows = int(str(_one(connection, "select count(*) from cells")))
    _check_structure(connection, source, table, found, n_rows)
    _check_last_row(connection, first, n_rows)
    return n_rows


def _plain_layout(source: Source, columns: Sequence[str]) -> TableLayout:
    if source.format is not FileFormat.CSV or source.packing is Packing.ZIP or source.encoding != "utf-8-sig":
        raise DoubtError("not a plain or gzipped CSV in UTF-8")
    tables = find_tables(source)
    if len(tables) > 1 or tables[0].first or tables[0].comments:
        raise DoubtError("comments, or several tables")
    header = tables[0].header
    if len(header) < 2 or any(char in name for name in header for char in '"\n\r'):
        raise DoubtError("one column, or a header in quotes")
    if any(header.count(name) != 1 for name in columns):
        raise DoubtError("a column is missing or ambiguous")
    return tables[0]


def _hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _look(source: Source, delimiter: str) -> dict[str, int]:
    """Counts of what decides how a text splits, and whether it begins with a byte-order mark or has an open end.

    Delimiters themselves are not counted here, since that takes as long as all the rest: only where a line ends with
    one, or where there are quotes, can a row have an empty cell too many at its end.
    """
    found = {"\n": 0, "\r": 0, "\r\n": 0, '"': 0, "\0": 0, _ENDS: 0, "mark": 0}
    tail = b""
    with open_bytes(source.path, source.packing) as raw:
        while chunk := raw.read(_CHUNK):
            found["mark"] += not tail and chunk.startswith(b"\xef\xbb\xbf")
            for rare in ('"', "\0", "\r"):
                # `in` is several times as fast as counting what is not there.
                if rare.encode() in chunk:
                    found[rare] += chunk.count(rare.encode())
            if found["\r"]:
                found["\r\n"] += chunk.count(b"\r\n") + (tail.endswith(b"\r") and chunk.startswith(b"\n"))
            # A line that ends with a delimiter may do so across two chunks.
            values = np.frombuffer(tail + chunk, np.uint8)
            distance = 2 if found["\r"] else 1
            breaks = values == ord("\n")
            found["\n"] += int(np.count_nonzero(breaks[len(tail) :]))
            found[_ENDS] += int(np.count_nonzero(breaks[distance:] & (values[:-distance] == ord(delimiter))))
            tail = (tail + chunk)[-2:]
    found[_ENDS] += tail.endswith(delimiter.encode())
    found[_OPEN_END] = int(not tail.endswith((b"\r", b"\n")))
    return found


def _count(source: Source, delimiter: str) -> int:
    with open_bytes(source.path, source.packing) as raw:
        return sum(chunk.count(delimiter.encode()) for chunk in iter(lambda: raw.read(_CHUNK), b""))


def _check_bytes(found: dict[str, int]) -> None:
    if found["mark"]:
        raise DoubtError("a byte-order mark")
    if found["\0"]:
        raise DoubtError("NUL bytes")
    if found["\r"] and not found["\r"] == found["\r\n"] == found["\n"]:
        raise DoubtError("line breaks of several kinds")


def _scan(path: Path, table: TableLayout) -> str:
    kinds = ", ".join(f"'h{position}': 'VARCHAR'" for position in range(len(table.header)))
    return f"""read_csv(
        {_quoted(_literal(path))}, auto_detect = false, header = true, delim = {_quoted(table.delimiter)}, quote = '"',
        escape = '"', columns = {{{kinds}}}, strict_mode = true, null_padding = false, ignore_errors = false,
        max_line_size = {CELL_LIMIT}, buffer_size = 33554432
    )"""


def _check_structure(
    connection: duckdb.DuckDBPyConnection, source: Source, table: TableLayout, found: dict[str, int], n_rows: int
) -> None:
    """Every delimiter is between two cells or within one, and every line is a row or empty."""
    blank = found["\n"] + found[_OPEN_END] - n_rows - 1
    if not n_rows or not 0 <= blank <= (0 if found['"'] else MAX_BLANK_LINES):
        raise DoubtError("no rows, line breaks within cells, or many empty lines")
    if not found['"'] and not found[_ENDS]:
        return
    within = 0
    if found['"']:
        delimiter = _quoted(table.delimiter)
        parts = [f"length(h{n}) - length(replace(h{n}, {delimiter}, ''))" for n in range(len(table.header))]
        sums = " + ".join(f"coalesce(sum({part}), 0)" for part in parts)
        within = int(str(_run(connection, f"select {sums} from {_scan(source.path, table)}")[0][0]))
    if _count(source, table.delimiter) != (n_rows + 1) * (len(table.header) - 1) + within:
        raise DoubtError("a row ends with an empty cell too many")


def _check_last_row(connection: duckdb.DuckDBPyConnection, first: str, n_rows: int) -> None:
    """A last row without a name may hold the totals of the others, which the careful reader finds out."""
    name = str(_one(connection, f"select coalesce({first}, '') from cells where rowid = {n_rows - 1}")).strip()
    if not name or "total" in name.casefold():
        raise DoubtError("perhaps a row of totals")


def _run(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[object, ...]]:
    try:
        return connection.execute(query).fetchall()
    except duckdb.Error as error:
        raise DoubtError(f"DuckDB refuses it: {str(error).splitlines()[0]}") from error


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> object:
    return connection.execute(query).fetchall()[0][0]


def _literal(path: Path) -> str:
    """The path with the characters of a pattern taken literally."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path.resolve()))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
