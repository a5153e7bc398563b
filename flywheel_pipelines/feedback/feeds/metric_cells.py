"""The cells of a file of metrics as columns of numbers, for millions of rows at once.

Here: reading a file's cells into DuckDB, looking up each distinct day and each distinct name once, and telling the rows
that are plainly fine from those that `metric_rows` has to look at. Not here: words about bad rows, or what becomes of
the good ones (`metric_facts`).

Days and names are judged by the same Python that says what is wrong with them, once per distinct text; only numbers are
judged by SQL, conservatively (`formats.count_sql`, `number_sql`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from flywheel_pipelines.feedback.attribution import Found, Output
from flywheel_pipelines.feedback.feeds.batch import PutAside, unreadable
from flywheel_pipelines.feedback.feeds.day_formats import day_sql, parse_day
from flywheel_pipelines.feedback.feeds.formats import BLANKS, count_sql, number_sql
from flywheel_pipelines.feedback.feeds.metric_columns import COUNT, DATE, EVENT, SESSION, MetricColumns
from flywheel_pipelines.feedback.feeds.metric_rows import latest_day
from flywheel_pipelines.feedback.feeds.rows import FeedRow, check_meanings, checked_name, feed_row
from flywheel_pipelines.feedback.feeds.strict_csv import DoubtError, read_strictly
from flywheel_pipelines.feedback.files import read_table
from flywheel_pipelines.feedback.files.cells import CellError
from flywheel_pipelines.feedback.files.reading import SOURCE_ROW
from flywheel_pipelines.spec import FeedSpec

NO_OUTPUT = -1
NO_DAY = np.iinfo(np.int32).min
STRICT_FROM = 1 << 20
"""Bytes from which on DuckDB's reader is faster than Python's."""
ROWS_AT_ONCE = 20_000
"""Rows that go through the Python checks together."""

Attribute = Callable[[list[str], tuple[date, date] | None], Mapping[str, Found]]


@dataclass
class Numbers:
    """The rows of a file as arrays of shape (n,), in the order of the file.

    Attributes:
        source_row: number of the row in the file.
        output: index into `outputs`, or NO_OUTPUT.
        day: days since 1970-01-01, or NO_DAY.
        values: per column of numbers; nan where nothing was measured, inf where the text is left to Python.
        fine: whether the row can be used.
        outputs: the outputs that the file names, by cycle and id.
    """

    source_row: np.ndarray
    output: np.ndarray
    day: np.ndarray
    values: dict[str, np.ndarray]
    fine: np.ndarray
    outputs: list[Output]

    @property
    def cycle(self) -> np.ndarray:
        """Days since 1970-01-01 of each output's cycle, shape (outputs,)."""
        return np.array([one.cycle.toordinal() for one in self.outputs], np.int32) - _EPOCH


_EPOCH = date(1970, 1, 1).toordinal()


def to_day(number: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return date.fromordinal(int(number) + _EPOCH)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH


class MetricCells:
    """The cells of one file in the table `cells` of a DuckDB connection."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: Path, feed: FeedSpec, columns: MetricColumns
    ) -> None:
        """Name the file and its columns; `load` reads it."""
        check_meanings(path, columns.headers)
        self._connection, self._path, self._feed, self._columns = connection, path, feed, columns
        self._column = {name: f"c{position}" for position, name in enumerate(columns.headers)}
        self._source_row: np.ndarray | None = None
        self.n_rows = 0
        self.unreadable: list[PutAside] = []
        self.found: Mapping[str, Found] = {}
        self.sessions: Mapping[str, int] = {}

    def load(self, pool: ThreadPoolExecutor, *, fast: bool = True) -> None:
        """Read the file: strictly when it is plain, else with care.

        Raises:
            InputFileError: the file cannot be used at all.
        """
        headers = list(self._columns.headers.values())
        try:
            if not fast or self._path.stat().st_size < STRICT_FROM:
                raise DoubtError("not asked for")
            self.n_rows = read_strictly(self._connection, self._path, headers, pool)
            return
        except DoubtError:
            self._connection.execute("drop table if exists cells")
        table = read_table(self._path, headers, date_format=self._feed.dates[0])
        unread = np.array([problem.source_row for problem in table.broken_cells], np.int64)
        numbers = table.rows.column(SOURCE_ROW).to_numpy()
        kept = ~np.isin(numbers, unread)
        careful = table.rows.filter(pa.array(kept))
        self._connection.register("careful", careful)
        self._connection.execute(f"create table cells as select {', '.join(self._column.values())} from careful")
        self._connection.unregister("careful")
        self._source_row = numbers[kept]
        self.n_rows = careful.num_rows
        self.unreadable = unreadable([*table.broken_rows, *table.broken_cells])

    def look_up(self, attribute: Attribute) -> list[Output]:
        """Look up the days and the names that the cells hold; the outputs that they name, by cycle and id."""
        if SESSION in self._columns.headers:
            self._look_up_sessions()
        return self._look_up_names(attribute, self._look_up_days())

    def numbers(self, outputs: list[Output], today: date) -> Numbers:
        """The rows as numbers, with `fine` set for those that are plainly fine; `outputs` are those of `look_up`."""
        # A date column's distinct texts, or the last day of the file's period.
        day = f"coalesce(days.day, {NO_DAY})" if self._columns.has_dates else str(self._last_day())
        names = [name for name in self._columns.headers if name not in (self._columns.key, DATE)]
        values = [f"{self._value_sql(name)} as v{position}" for position, name in enumerate(names)]
        join_days = ""
        if self._columns.has_dates:
            join_days = f"left join days on days.text = cells.{self._column[DATE]}"
        if SESSION in self._columns.headers:
            join_days += f" left join sessions on sessions.text = cells.{self._column[SESSION]}"
        # Empty cells may be null and then match nothing; the Python checks say what is wrong with them.
        found = self._arrays(
            f"""
            select cells.rowid::int as position, coalesce(names.output, {NO_OUTPUT})::int as output,
                {", ".join([f"({day})::int as day", *values])}
            from cells left join names on names.text = cells.{self._column[self._columns.key]} {join_days}
            """
        )
        source_row = np.arange(1, self.n_rows + 1) if self._source_row is None else self._source_row
        by_name = {name: found[f"v{number}"] for number, name in enumerate(names)}
        numbers = Numbers(source_row, found["output"], found["day"], by_name, np.zeros(self.n_rows, bool), outputs)
        numbers.fine = self._plainly_fine(numbers, today)
        return numbers

    def rows(self, positions: np.ndarray) -> Iterator[tuple[int, FeedRow]]:
        """Some rows by their position in the arrays, in that order, some thousands in memory at a time."""
        headers = self._columns.headers
        for start in range(0, len(positions), ROWS_AT_ONCE):
            chunk = positions[start : start + ROWS_AT_ONCE]
            self._connection.register("chosen", pa.table({"position": pa.array(chunk, pa.int64())}))
            cells = self._connection.execute(
                f"""
                select {", ".join(f"coalesce({name}, '')" for name in self._column.values())}
                from cells inner join chosen on cells.rowid = chosen.position order by chosen.position
                """
            ).fetchall()
            self._connection.unregister("chosen")
            for position, row in zip(chunk.tolist(), cells, strict=True):
                number = position + 1 if self._source_row is None else int(self._source_row[position])
                yield position, feed_row(number, headers, dict(zip(headers, row, strict=True)))

    def _arrays(self, query: str) -> dict[str, np.ndarray]:
        """The columns of a query with a row per row of the file, in the order of its column `position`, from 0.

        Joins do not keep the order of the rows but that of the pieces that threads take, so the pieces are put where
        they belong.
        """
        # Not execute: what it returns is a stream, which goes through one thread.
        table = self._connection.sql(query).to_arrow_table()
        names = [name for name in table.column_names if name != "position"]
        in_order = {name: np.empty(self.n_rows, table.schema.field(name).type.to_pandas_dtype()) for name in names}
        for batch in table.to_batches():
            position = batch.column("position").to_numpy()
            starts = [0, *(np.flatnonzero(np.diff(position) != 1) + 1).tolist(), len(position)]
            columns = {name: batch.column(name).to_numpy() for name in names}
            for start, end in pairwise(starts):
                place = int(position[start])
                for name, array in columns.items():
                    in_order[name][place : place + end - start] = array[start:end]
        return in_order

    def _value_sql(self, name: str) -> str:
        text = f"cells.{self._column[name]}"
        if name == EVENT:
            events = "".join(
                f" when {_quoted(event)} then {self._columns.measures.index(measure)}"
                for event, measure in self._feed.events.items()
            )
            return f"(case {text}{events} else 'inf'::double end)"
        if name == SESSION:
            return "coalesce(sessions.number, 'inf'::double)"
        if name == COUNT and self._feed.sessions:
            number = f"coalesce({count_sql(text, self._feed.numbers)}, 'inf'::double)"
            return f"case when {text} is null or {text} = '' then 1 else {number} end"
        if name in self._columns.whole or name == COUNT:
            return f"coalesce({count_sql(text, self._feed.numbers)}, 'inf'::double)"
        number = f"coalesce({number_sql(text, self._feed.numbers)}, 'inf'::double)"
        return f"case when {text} is null or {text} = '' then 'nan'::double else {number} end"

    def _plainly_fine(self, numbers: Numbers, today: date) -> np.ndarray:
        fine = (numbers.output != NO_OUTPUT) & (numbers.day != NO_DAY) & (numbers.day <= day_number(latest_day(today)))
        if numbers.outputs:
            fine &= numbers.day >= numbers.cycle[numbers.output]
        for values in numbers.values.values():
            fine &= values != np.inf
        for name, least in self._columns.least.items():
            # What was not measured is nan, which no comparison holds for.
            fine &= ~(numbers.values[name] < least)
        for name, exposure in self._columns.paired.items():
            fine &= ~np.isnan(numbers.values[name]) | (numbers.values[exposure] == 0)
        for rate in self._columns.rates:
            fine &= numbers.values[rate.successes] <= numbers.values[rate.exposure]
        if EVENT not in numbers.values and not self._columns.whole:
            fine &= ~np.all([np.isnan(values) for values in numbers.values.values()], axis=0)
        return fine

    def _last_day(self) -> int:
        assert self._columns.period is not None
        return day_number(self._columns.period[1])

    def _look_up_days(self) -> tuple[date, date] | None:
        """Make the table `days` of all texts that are days; the first and the last of them."""
        if not self._columns.has_dates:
            return None
        column = self._column[DATE]
        self._connection.execute(
            f"""
            create table day_texts as
            select text, {day_sql("text", self._feed.dates)} as day
            from (select coalesce(text, '') as text from (select distinct {column} as text from cells))
            """
        )
        unsure = self._connection.execute("select text from day_texts where day is null").fetchall()
        read = []
        for (text,) in unsure:
            try:
                read.append((text, parse_day(text.strip(BLANKS) or None, self._feed.dates)))
            except CellError:
                continue
        more = pa.table({"text": [text for text, _ in read], "day": [day for _, day in read]}, schema=_DAYS)
        self._connection.register("more_days", more)
        self._connection.execute(
            """
            create table days as
            select text, (day - date '1970-01-01')::int as day
            from (select text, day from day_texts where day is not null union all select text, day from more_days)
            """
        )
        self._connection.unregister("more_days")
        first, last = self._connection.execute("select min(day), max(day) from days").fetchall()[0]
        return None if first is None else (to_day(first), to_day(last))

    def _look_up_sessions(self) -> None:
        """Make the table `sessions` of all texts that name a session, and number them by name."""
        column = self._column[SESSION]
        texts = [
            text for (text,) in self._connection.execute(f"select distinct {column} from cells").fetchall() if text
        ]
        named: dict[str, str] = {}
        for text in texts:
            try:
                named[text] = checked_name(text.strip(BLANKS) or None, "a session")
            except CellError:
                continue
        self.sessions = {name: number for number, name in enumerate(sorted(set(named.values())))}
        numbered = pa.table(
            {"text": list(named), "number": [self.sessions[name] for name in named.values()]},
            schema=pa.schema([("text", pa.string()), ("number", pa.float64())]),
        )
        self._connection.register("numbered", numbered)
        self._connection.execute("create table sessions as select * from numbered")
        self._connection.unregister("numbered")

    def _look_up_names(self, attribute: Attribute, days: tuple[date, date] | None) -> list[Output]:
        """Make the table `names` of all texts that name one output; the outputs by cycle and id."""
        column = self._column[self._columns.key]
        texts = self._connection.execute(f"select distinct {column} as text from cells").to_arrow_table()
        self.found = attribute(
            ["" if text is None else text for text in texts.column("text").to_pylist()], days or self._columns.period
        )
        matched = {text: one for text, one in self.found.items() if isinstance(one, Output)}
        # Pairs and not the outputs themselves: there may be a hundred thousand, and pairs are hashed without Python.
        pairs = sorted({(one.cycle, one.output_id) for one in matched.values()})
        index = {pair: number for number, pair in enumerate(pairs)}
        names = pa.table(
            {"text": list(matched), "output": [index[one.cycle, one.output_id] for one in matched.values()]},
            schema=pa.schema([("text", pa.string()), ("output", pa.int32())]),
        )
        self._connection.register("matched", names)
        self._connection.execute("create table names as select * from matched")
        self._connection.unregister("matched")
        return [Output(output_id, cycle) for cycle, output_id in pairs]


_DAYS = pa.schema([("text", pa.string()), ("day", pa.date32())])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
