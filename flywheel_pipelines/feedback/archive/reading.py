"""Reading an archive into tables that fit the lake: candidates, measurements, and rows put aside.

Here: which rows are left out, what a brief and a candidate are, and the simulated clock of an archive.
Not here: reading files (`feedback.files`), judging cells (`checks`), writing to the lake.

Decisions:
- A brief is the joined values of the brief columns; an empty part is a group of its own, all parts empty is no brief.
- A candidate is a distinct text of a brief, blanks around it aside; the same text again adds to its counts.
- A brief whose rows straddle cycles belongs to its latest: only then is all of it known. In the earliest, half of its
  counts would arrive after the cycle was closed, and every replay would have to restate what it had just learned.
- A brief with one candidate is kept: there is nothing to choose, but it was published and measured.
- Rows that are left out are not checked: nothing of them is used. Rows that cannot be split into cells are put aside
  first, because it is unknown what they say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from flywheel_pipelines.cycles import Cadence, cycle_end, cycle_of, cycle_start
from flywheel_pipelines.errors import InputFileError
from flywheel_pipelines.feedback.archive.batch import CANDIDATES_SCHEMA, MEASUREMENTS_SCHEMA, ArchiveBatch
from flywheel_pipelines.feedback.archive.checks import problems_table, shown_part, wrong_cells
from flywheel_pipelines.feedback.archive.days import DayFormat
from flywheel_pipelines.feedback.archive.mapping import ArchiveMapping
from flywheel_pipelines.feedback.files import RowProblem, TextTable, read_table, shown
from flywheel_pipelines.lake.store import content_hash
from flywheel_pipelines.lake.tables import QUARANTINE

DEFAULT_SEGMENT = "all"
TITLE_LIMIT = 120
BRIEF_ID_LIMIT = 64
EMPTY_SHOWN = "empty"
_BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"


def read_archive(
    path: Path | str, mapping: ArchiveMapping, *, cadence: Cadence, recorded_at: datetime | None = None
) -> ArchiveBatch:
    """Read an archive.

    Args:
        path: CSV, TSV (plain or gzipped) or Parquet.
        mapping: what its columns mean.
        cadence: how long a cycle lasts.
        recorded_at: when all of it became known; None lets it become known as the archive's own time passes:
            candidates when their cycle begins, measurements when it is over, the batch when its first cycle begins.

    Raises:
        InputFileError: the file cannot be used at all, or no row of it can.
    """
    path = Path(path)
    columns = mapping.required_columns
    table = read_table(path, columns, date_format=mapping.cycle_format)
    batch_id = content_hash(_file_hash(path), mapping.model_dump_json(), cadence)
    with _workbench() as connection:
        connection.register("cells", table.rows)
        undecided = [problem for problem in table.broken_cells if problem.field in mapping.leave_out]
        connection.register("undecided", problems_table(undecided))
        _make_roles(connection, mapping, columns)
        left_out = dict(
            connection.execute(
                "select why_left_out, count(*) from roles where why_left_out is not null group by all order by all"
            ).fetchall()
        )
        problems = _find_problems(connection, mapping, table)
        _make_good_rows(connection, problems, cadence)
        if not _count(connection, "good"):
            raise _nothing_usable(path, table.n_rows, problems, left_out)
        first = _first_cycle(connection)
        clock = {"recorded_at": recorded_at, "batch_id": batch_id}
        candidates = connection.execute(_CANDIDATES, clock).to_arrow_table()
        measurements = connection.execute(_MEASUREMENTS, clock).to_arrow_table()
    known_at = recorded_at or cycle_start(first)
    return ArchiveBatch(
        batch_id=batch_id,
        source=path.name,
        recorded_at=known_at,
        measures=mapping.measures,
        candidates=_as(candidates, CANDIDATES_SCHEMA),
        measurements=_as(measurements, MEASUREMENTS_SCHEMA),
        quarantine=_quarantine(problems, path.name, batch_id, known_at),
        left_out=left_out,
        n_rows=table.n_rows,
    )


# -- from cells to roles ---------------------------------------------------------------------------------------------
def _make_roles(connection: duckdb.DuckDBPyConnection, mapping: ArchiveMapping, columns: list[str]) -> None:
    """Table `roles`: one row per row of the file, columns named after what they hold, blanks trimmed, empty = null."""
    named = mapping.columns

    def cell(name: str | None) -> str:
        return f"nullif(trim(c{columns.index(name)}, $blanks), '')" if name else "null::varchar"

    parts = [cell(name) for name in named.brief]
    escaped = [f"replace(replace(coalesce({part}, ''), '%', '%25'), '/', '%2F')" for part in parts]
    joined = escaped[0] if len(parts) == 1 else f"concat_ws('/', {', '.join(escaped)})"
    rules = [
        f"when coalesce(lower({cell(name)}), '') = {_quoted(value)} then {_quoted(f'{name} is {value or EMPTY_SHOWN}')}"
        for name, values in mapping.leave_out.items()
        for value in values
    ]
    connection.execute(
        f"""
        create temp table roles as
        with named as (
            select
                source_row,
                {", ".join(f"{part} as brief_{position}" for position, part in enumerate(parts))},
                case when coalesce({", ".join(parts)}) is not null then {joined} end as brief,
                {cell(named.text)} as text,
                {cell(named.segment)} as segment,
                trim(regexp_replace({cell(named.title)}, '[\\s\\x00-\\x1f\\x7f]+', ' ', 'g')) as title,
                {cell(named.cycle)} as cycle,
                {cell(named.exposure)} as exposure,
                {cell(named.successes)} as successes,
                -- A cell that could not be read cannot rule its row out: it is null here, but it is not empty.
                case when source_row in (select source_row from undecided) then null
                    {" ".join(rules)} end as why_left_out
            from cells
        )
        select
            * exclude (brief),
            case when length(brief) > {BRIEF_ID_LIMIT} then left(brief, 40) || '~' || left(sha256(brief), 12)
                else brief end as brief_id
        from named
        """,
        {"blanks": _BLANKS},
    )
    connection.execute("create temp view kept as select * from roles where why_left_out is null")


def _find_problems(
    connection: duckdb.DuckDBPyConnection, mapping: ArchiveMapping, table: TextTable
) -> list[RowProblem]:
    """Every problem of every row that is not left out; also makes the table `days` (written, day)."""
    written = [
        value for (value,) in connection.execute("select distinct cycle from kept where cycle is not null").fetchall()
    ]
    days, reasons = _parse_days(written, DayFormat(mapping.cycle_format))
    connection.register(
        "days", pa.table({"written": pa.array(days, pa.string()), "day": pa.array(days.values(), pa.date32())})
    )
    kept = _numbers(connection, "kept") if table.broken_cells else set()
    unread = [problem for problem in table.broken_cells if problem.source_row in kept]
    # A cell that could not be read is null by now; the reason it has is better than "empty".
    taken = {(problem.source_row, problem.field) for problem in unread}
    wrong = [
        problem
        for problem in wrong_cells(connection, mapping, reasons)
        if (problem.source_row, problem.field) not in taken
    ]
    return sorted([*table.broken_rows, *unread, *wrong], key=lambda problem: (problem.source_row, problem.field))


def _parse_days(written: list[str], day_format: DayFormat) -> tuple[dict[str, date], dict[str, str]]:
    days: dict[str, date] = {}
    reasons: dict[str, str] = {}
    for value in written:
        try:
            days[value] = day_format.parse(value)
        except ValueError as error:
            reasons[shown_part(value)] = str(error)
    return days, reasons


# -- from good rows to candidates and measurements -------------------------------------------------------------------
def _make_good_rows(connection: duckdb.DuckDBPyConnection, problems: list[RowProblem], cadence: Cadence) -> None:
    """Table `good`: rows without a problem, each with its day, its own cycle, and the clock of its cycles."""
    days = [day for (day,) in connection.execute("select distinct day from days").fetchall()]
    cycles = {day: cycle_of(day, cadence) for day in days}
    connection.register(
        "calendar",
        pa.table(
            {
                "day": pa.array(days, pa.date32()),
                "row_cycle": pa.array(cycles.values(), pa.date32()),
                "begins_at": pa.array([cycle_start(cycle) for cycle in cycles.values()], pa.timestamp("us", "UTC")),
                "ends_at": pa.array(
                    [cycle_end(cycle, cadence) for cycle in cycles.values()], pa.timestamp("us", "UTC")
                ),
            }
        ),
    )
    connection.register("problems", problems_table(problems))
    connection.execute(
        """
        create temp table good as
        select
            brief_id,
            left(sha256(brief_id || chr(31) || text), 16) as candidate_id,
            * exclude (brief_id, exposure, successes, cycle),
            split_part(exposure, '.', 1)::bigint as exposure,
            split_part(successes, '.', 1)::bigint as successes,
            max(row_cycle) over brief as cycle,
            max(begins_at) over brief as brief_begins_at,
            max(ends_at) over brief as brief_ends_at
        from kept
        join days on days.written = kept.cycle
        join calendar using (day)
        where source_row not in (select source_row from problems)
        window brief as (partition by brief_id)
        """
    )


_CANDIDATES = f"""
    with briefs as (
        select
            brief_id,
            coalesce(arg_min(segment, source_row), '{DEFAULT_SEGMENT}') as segment,
            coalesce(arg_min(title, source_row), brief_id) as title
        from good group by brief_id
    )
    select
        any_value(cycle) as cycle,
        brief_id,
        candidate_id,
        any_value(briefs.segment) as segment,
        any_value(case when length(briefs.title) > {TITLE_LIMIT}
            then left(briefs.title, {TITLE_LIMIT - 1}) || '…' else briefs.title end) as title,
        any_value(text) as text,
        $batch_id as batch_id,
        coalesce($recorded_at::timestamptz, any_value(brief_begins_at)) as recorded_at,
        min(source_row) as source_row
    from good join briefs using (brief_id)
    group by brief_id, candidate_id
    order by cycle, brief_id, source_row
"""

_MEASUREMENTS = """
    select
        any_value(cycle) as cycle,
        brief_id,
        candidate_id,
        min(day) as measured_on,
        sum(successes)::bigint as successes,
        sum(exposure)::bigint as exposure,
        count(*) as n_source_rows,
        $batch_id as batch_id,
        coalesce($recorded_at::timestamptz, any_value(brief_ends_at)) as recorded_at,
        min(source_row) as source_row
    from good
    group by brief_id, candidate_id
    order by cycle, brief_id, source_row
"""


# -- small things ----------------------------------------------------------------------------------------------------
@contextmanager
def _workbench() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def _quarantine(problems: list[RowProblem], source: str, batch_id: str, recorded_at: datetime) -> pa.Table:
    table = problems_table(problems)
    same = {"batch_id": batch_id, "recorded_at": recorded_at, "source": source}
    fields = list(QUARANTINE.schema)
    arrays = [
        pa.repeat(pa.scalar(same[field.name], field.type), table.num_rows)
        if field.name in same
        else table.column(field.name)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in fields
    ]
    return pa.table(arrays, schema=QUARANTINE.schema)


def _nothing_usable(path: Path, n_rows: int, problems: list[RowProblem], left_out: dict[str, int]) -> InputFileError:
    examples = "\n".join(
        f"  - row {problem.source_row}, {problem.field}: found {shown(problem.found, 60)!r}: {problem.reason}"
        for problem in problems[:3]
    )
    counts = "; ".join(f"{count:,} left out ({reason})" for reason, count in left_out.items())
    return InputFileError(
        f"{path}: none of its {n_rows:,} rows can be used. {counts}".rstrip()
        + (f"\nThe first problems:\n{examples}" if examples else "")
        + "\nCheck that the mapping names the right columns and the right cycle_format."
    )


def _as(found: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.table([found.column(field.name).cast(field.type) for field in schema], schema=schema)


def _numbers(connection: duckdb.DuckDBPyConnection, view: str) -> set[int]:
    return {row for (row,) in connection.execute(f"select source_row from {view}").fetchall()}


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return (connection.execute(f"select count(*) from {table}").fetchone() or (0,))[0]


def _first_cycle(connection: duckdb.DuckDBPyConnection) -> date:
    return (connection.execute("select min(cycle) from good").fetchone() or (date.min,))[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _file_hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
