"""Rows of a query on any database that SQLAlchemy reaches.

The query runs in a read-only transaction where the database knows such a thing, with a time limit, through a cursor on
the server's side, so that memory does not grow with the result. The days are bound parameters, never part of its text.
Errors are raised outside the handlers that caught them: SQLAlchemy's own carry the URL and the parameters, and a
traceback would show them as the cause.
Not here: the file that the rows end in (`pulled_file`), or which days (`loop.pulling`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

from flywheel_pipelines.errors import FlywheelError, UnavailableError
from flywheel_pipelines.feedback.files.cells import shown
from flywheel_pipelines.feedback.sources.rows import CHUNK_ROWS, SourceRows, check_names
from flywheel_pipelines.feedback.sources.secrets import HiddenUrl
from flywheel_pipelines.spec.feeds import SqlSource

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine, TextClause

PARAMETERS = ("first_day", "last_day")
CONNECT_SECONDS = 30
NEEDS_EXTRA = "pip install 'flywheel-pipelines[sql]'"
_CONNECT_TIMEOUTS = {"psycopg", "psycopg2", "pymysql", "mysqldb", "mariadbconnector"}
"""Drivers that take `connect_timeout` in seconds."""
_SAID_LIMIT = 600


@contextmanager
def query_rows(
    source: SqlSource, url: HiddenUrl, first_day: date, last_day: date, *, feed: str, timeout: float
) -> Iterator[SourceRows]:
    """Run the feed's query for some days.

    Args:
        source: the query.
        url: where; it shows nowhere.
        first_day: value of the parameter :first_day.
        last_day: value of the parameter :last_day.
        feed: for errors.
        timeout: seconds after which the query is given up, all its rows included.

    Raises:
        FlywheelError: the extra or the driver is missing, the URL or the query is wrong, or the database refused.
    """
    what = f"Feed {feed}"
    engine = _engine(url, what, timeout)
    deadline = time.monotonic() + timeout
    try:
        with _connected(engine, url, what) as connection:
            statement = _statement(source.query, first_day, last_day, what)
            asked = f"{what}, query {_on_one_line(source.query)}"
            result = _ask(connection, statement, url, asked, timeout)
            try:
                names = list(result.keys())
                check_names(names, asked)
                chunks = _chunks(result, url, asked, deadline, timeout)
                yield SourceRows(names, chunks, keeps_order(source.query))
            finally:
                _quietly(result.close)
    finally:
        engine.dispose()


def keeps_order(query: str) -> bool:
    """Whether the query itself says in which order its rows come: ORDER BY outside of brackets, texts and comments."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"", " ", query, flags=re.DOTALL)
    while (flat := re.sub(r"\([^()]*\)", " ", bare)) != bare:
        bare = flat
    return re.search(r"\border\s+by\b", bare, re.IGNORECASE) is not None


def asks_for_days(query: str) -> bool:
    """Whether the query uses both parameters, so that its rows are about the days asked for and no others."""
    return all(re.search(rf"(?<![:\w\\]):{name}\b", query) for name in PARAMETERS)


def _engine(url: HiddenUrl, what: str, timeout: float) -> Engine:
    try:
        import sqlalchemy
        from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise FlywheelError(f"{what}: reading a database needs SQLAlchemy. {NEEDS_EXTRA}") from None
    problem = f"{url.variable} holds no SQLAlchemy URL; expected e.g. postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    advice = "Escape @ / : and # in a password as %40 %2F %3A and %23."
    try:
        parsed = sqlalchemy.make_url(url.text)
        driver = parsed.get_driver_name()
        more: dict[str, Any] = {}
        if driver in _CONNECT_TIMEOUTS and "connect_timeout" not in parsed.query:
            more["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        # hide_parameters: not in errors, not in logs. One connection, closed when we are done.
        return sqlalchemy.create_engine(parsed, poolclass=NullPool, hide_parameters=True, **more)
    except NoSuchModuleError:
        problem = f"the URL in {url.variable} begins with a database or driver that SQLAlchemy does not know here"
        advice = "Install the package with its dialect, or put the beginning of the URL right."
    except ModuleNotFoundError as error:
        problem = f"the driver {error.name} that the URL in {url.variable} asks for is not installed"
        advice = f"pip install {error.name}"
    except (SQLAlchemyError, ValueError, TypeError):
        pass
    raise FlywheelError(f"{what}: {problem}. {advice} Nothing was pulled.")


@contextmanager
def _connected(engine: Engine, url: HiddenUrl, what: str) -> Iterator[Connection]:
    from sqlalchemy.exc import SQLAlchemyError

    connection, said = None, ""
    try:
        connection = engine.connect()
    except (SQLAlchemyError, OSError, ValueError, TypeError, UnicodeError) as error:
        said = _said(error, url, connected=False)
    if connection is None:
        raise UnavailableError(
            f"{what}: cannot connect to the database that {url.variable} names; it said: {said} "
            "Check that it runs, that this machine may reach it, and user and password in the URL. Nothing was pulled."
        )
    try:
        yield connection
    finally:
        # Nothing is ever committed, whatever the query did.
        _quietly(connection.rollback)
        _quietly(connection.close)


def _statement(query: str, first_day: date, last_day: date, what: str) -> TextClause:
    from sqlalchemy import Date, bindparam, text

    statement = text(query.strip().rstrip(";"))
    known: dict[str, date] = dict(zip(PARAMETERS, (first_day, last_day), strict=True))
    used = set(statement.compile().params)
    unknown = sorted(used - set(known))
    if unknown:
        raise FlywheelError(
            f"{what}: its query has the parameter :{unknown[0]}; there are :first_day and :last_day. "
            f"Where it is no parameter but text, write \\:{unknown[0]}."
        )
    return statement.bindparams(*(bindparam(name, known[name], type_=Date()) for name in used))


def _ask(
    connection: Connection, statement: TextClause, url: HiddenUrl, asked: str, timeout: float
) -> CursorResult[Any]:
    from sqlalchemy.exc import SQLAlchemyError

    said, result = "", None
    try:
        connection = _limited(connection, timeout)
        options = {"stream_results": True, "max_row_buffer": CHUNK_ROWS}
        result = connection.execution_options(**options).execute(statement)
    except SQLAlchemyError as error:
        said = _said(error, url)
    if result is None:
        raise _refused(asked, said, timeout)
    if not result.returns_rows:
        raise FlywheelError(f"{asked}: gives no rows at all, expected a SELECT. It was rolled back; write a SELECT.")
    return result


def _limited(connection: Connection, timeout: float) -> Connection:
    """The same connection, read-only and with a time limit, as far as its database knows such things."""
    milliseconds = max(1, round(timeout * 1_000))
    match connection.dialect.name:
        case "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
        case "mysql":
            connection.exec_driver_sql(f"SET SESSION max_execution_time = {milliseconds}")
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        case "mariadb":
            connection.exec_driver_sql(f"SET SESSION max_statement_time = {milliseconds / 1_000}")
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        case "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
            deadline = time.monotonic() + timeout
            handle: Any = connection.connection.dbapi_connection
            handle.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        case _:
            pass
    return connection


def _chunks(
    result: CursorResult[Any], url: HiddenUrl, asked: str, deadline: float, timeout: float
) -> Iterator[Sequence[Sequence[Any]]]:
    from sqlalchemy.exc import SQLAlchemyError

    while True:
        said = ""
        rows: Sequence[Sequence[Any]] | None = None
        try:
            rows = result.fetchmany(CHUNK_ROWS)
        except SQLAlchemyError as error:
            said = _said(error, url)
        if rows is None:
            raise _refused(asked, said, timeout)
        # A server's own limit is one for each piece that is fetched, not for all of them.
        if time.monotonic() > deadline:
            raise _refused(asked, f"still sending rows after {timeout:g} s.", timeout)
        if not rows:
            return
        yield rows


def _refused(asked: str, said: str, timeout: float) -> FlywheelError:
    lower = said.lower()
    if "permission denied" in lower or "access denied" in lower or "command denied" in lower:
        advice = "Have SELECT granted to the user of the URL."
    elif "timeout" in lower or "still sending" in lower or "interrupted" in lower or "execution time" in lower:
        advice = f"It has {timeout:g} s and took longer: ask for fewer days, add an index, or allow more (--timeout)."
    elif "read-only" in lower or "readonly" in lower:
        advice = "A feed only reads: write a SELECT that changes nothing."
    elif "connection" in lower or "server" in lower:
        advice = "The connection broke off. Pull again; it starts from the beginning."
        return UnavailableError(f"{asked}: the database said: {said} {advice} Nothing was pulled.")
    else:
        advice = "Put the query right, and try it in the database's own client."
    return FlywheelError(f"{asked}: the database said: {said} {advice} Nothing was pulled.")


def _said(error: BaseException, url: HiddenUrl, *, connected: bool = True) -> str:
    """The driver's own words on one line, without SQLAlchemy's additions and without any part of the URL."""
    words = str(getattr(error, "orig", None) or error)
    line = shown(url.masked(" ".join(words.split()), connected=connected), _SAID_LIMIT)
    return line if line.endswith((".", "…")) else f"{line}."


def _on_one_line(query: str) -> str:
    return f"'{shown(' '.join(query.split()), 160)}'"


def _quietly(close: Any) -> None:
    """Closing what the other side closed before is no news: the error that matters is on its way already."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        close()
    except (SQLAlchemyError, OSError):
        return
