"""Rows of a table that a dlt pipeline has loaded, through dlt's own access to its dataset.

Only rows of completed loads count: those whose `_dlt_load_id` stands in `_dlt_loads` with status 0. dlt's own columns
(`_dlt_...`) are left out, since they differ when the same rows are loaded again.
Nothing is written: the pipeline's working folder must be there already, and a DuckDB file is opened read-only.
Not here: running the pipeline, which is its owner's, or the file that the rows end in (`pulled_file`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.files.cells import names_shown, shown
from flywheel_pipelines.feedback.sources.rows import CHUNK_ROWS, SourceRows, check_names
from flywheel_pipelines.spec.feeds import DltSource, FeedSpec

if TYPE_CHECKING:
    import dlt

NEEDS_EXTRA = "pip install 'flywheel-pipelines[dlt]'"
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
"""dlt reads this when it starts, and then sends nothing home."""
LOAD_ID, LOADS, OWN = "_dlt_load_id", "_dlt_loads", "_dlt_"
_SAID_LIMIT = 600

Result = TypeVar("Result")


@contextmanager
def table_rows(
    source: DltSource, feed_spec: FeedSpec, first_day: date, last_day: date, *, feed: str, data_folder: Path
) -> Iterator[SourceRows]:
    """Read the rows of the feed's table that are about some days.

    The day of a row is in the column that the feed calls `date`. Where that is text that none of the feed's `dates`
    reads, the row stays in, for the quarantine to say so; without such a column, all rows stay in.

    Args:
        source: the pipeline and its table.
        feed_spec: the feed.
        first_day: the first day that is asked for.
        last_day: the last one.
        feed: for errors.
        data_folder: what a relative `pipelines_dir` is relative to.

    Raises:
        FlywheelError: the extra is missing, there is no such pipeline or table, or its destination refused.
    """
    what = f"Feed {feed}, dlt pipeline {source.pipeline}"
    dataset = _pipeline(source, what, data_folder).dataset()
    columns = _tried(lambda: _columns(dataset, source, what), what, source)
    client: Any = _tried(lambda: _reader(dataset), what, source)
    _tried(client.open_connection, what, source)
    try:
        names = [name for name in columns if not name.startswith(OWN)]
        check_names(names, what)
        date_column = feed_spec.columns.get("date", "date")
        query, values = _query(client, source.table, names, columns, date_column, first_day, last_day)
        chunks = _chunks(client, query, values, what, source)
        if columns.get(date_column, {}).get("data_type") == "text":
            chunks = _within(chunks, names.index(date_column), feed_spec.dates, first_day, last_day)
        yield SourceRows(names, chunks, in_order=False)
    finally:
        client.close_connection()


def _pipeline(source: DltSource, what: str, data_folder: Path) -> dlt.Pipeline:
    os.environ.update(QUIET)
    try:
        import dlt
        from dlt.common.pipeline import get_dlt_pipelines_dir
    except ImportError:
        raise FlywheelError(f"{what}: reading what dlt has loaded needs dlt. {NEEDS_EXTRA}") from None
    given = source.pipelines_dir
    folder = data_folder / Path(given).expanduser() if given else Path(get_dlt_pipelines_dir())
    if not (folder / source.pipeline).is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        raise FlywheelError(
            f"{what}: no pipeline of that name below {folder}; there are {names_shown(there) or 'none'}. "
            "Run the pipeline once, or name its folder with dlt.pipelines_dir."
        )
    return _tried(lambda: dlt.attach(source.pipeline, pipelines_dir=str(folder)), what, source)


def _reader(dataset: dlt.Dataset) -> Any:
    client: Any = dataset.sql_client
    if dataset.destination_client.config.destination_type == "duckdb":
        # Whoever opens a DuckDB file to write keeps everybody else out.
        client.credentials.read_only = True
    return client


def _columns(dataset: dlt.Dataset, source: DltSource, what: str) -> dict[str, Mapping[str, Any]]:
    """Columns of the table with their dlt types, in the order of the table."""
    tables = {name: table for schema in dataset.schemas for name, table in schema.tables.items()}
    known = sorted(
        name for name, table in tables.items() if LOAD_ID in table.get("columns", {}) and not name.startswith(OWN)
    )
    if source.table not in tables:
        raise FlywheelError(f"{what}: has no table {source.table!r}; there are {names_shown(known) or 'none'}.")
    if source.table not in known:
        raise FlywheelError(
            f"{what}: table {source.table!r} does not say by which load its rows came ({LOAD_ID}), as tables of nested "
            f"values do not. Name one of {names_shown(known) or 'none'}, or load the nested values as a table."
        )
    return {name: column for name, column in tables[source.table].get("columns", {}).items() if "data_type" in column}


def _query(
    client: Any, table: str, names: Sequence[str], columns: Mapping[str, Mapping[str, Any]], date_column: str,
    first_day: date, last_day: date,
) -> tuple[str, list[Any]]:  # fmt: skip
    chosen = ", ".join(client.escape_column_name(name) for name in names)
    loads, load_id = client.make_qualified_table_name(LOADS), client.escape_column_name(LOAD_ID)
    query = (
        f"SELECT {chosen} FROM {client.make_qualified_table_name(table)} "
        f"WHERE {load_id} IN (SELECT load_id FROM {loads} WHERE status = 0)"
    )
    ends: tuple[date, date]
    match columns.get(date_column, {}).get("data_type"):
        case "date":
            ends = (first_day, last_day + timedelta(days=1))
        case "timestamp":
            is_local = columns[date_column].get("timezone") is False
            zone = None if is_local else UTC
            ends = (
                datetime.combine(first_day, time(), zone),
                datetime.combine(last_day + timedelta(days=1), time(), zone),
            )
        case _:
            return query, []
    day = client.escape_column_name(date_column)
    return f"{query} AND {day} >= %s AND {day} < %s", list(ends)


def _chunks(
    client: Any, query: str, values: Sequence[Any], what: str, source: DltSource
) -> Iterator[Sequence[Sequence[Any]]]:
    with ExitStack() as stack:
        cursor = _tried(lambda: stack.enter_context(client.execute_query(query, *values)), what, source)
        fetched = cursor.iter_fetch(CHUNK_ROWS)
        while rows := _tried(lambda: next(fetched, None), what, source):
            yield rows


def _within(
    chunks: Iterator[Sequence[Sequence[Any]]], position: int, formats: Sequence[str], first_day: date, last_day: date
) -> Iterator[Sequence[Sequence[Any]]]:
    for chunk in chunks:
        kept = [row for row in chunk if _is_within(row[position], formats, first_day, last_day)]
        if kept:
            yield kept


def _is_within(value: object, formats: Sequence[str], first_day: date, last_day: date) -> bool:
    for written in formats:
        try:
            return first_day <= datetime.strptime(str(value).strip(), written).date() <= last_day
        except ValueError:
            continue
    return True


def _tried(work: Callable[[], Result], what: str, source: DltSource) -> Result:
    """What the work gives; errors of dlt and its destinations become words for people.

    They are raised outside the handler, without their cause: dlt prints the configuration that it tried.
    """
    from dlt.common.exceptions import DltException

    try:
        return work()
    except DltException as error:
        said = _said(error)
    except OSError as error:
        said = f"{type(error).__name__}: {error.strerror}."
    raise FlywheelError(
        f"{what}, table {source.table}: dlt said: {said} Check that the pipeline has run, that its destination can be "
        "reached with the configuration in force here, and that it is not being written at this moment. "
        "Nothing was pulled."
    )


def _said(error: BaseException) -> str:
    line = shown(" ".join(str(error).split()), _SAID_LIMIT)
    return line if line.endswith((".", "…")) else f"{line}."
