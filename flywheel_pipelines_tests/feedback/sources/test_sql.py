"""A query of a real PostgreSQL, pulled into one file of the inbox."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.feedback.sources.pulled_file import workplace
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines_tests.feedback.sources.samples import FIRST, LAST, VARIABLE, Puller, refusal
from flywheel_pipelines_tests.postgres import PASSWORD, Postgres, started_postgres


# -- what the days do ------------------------------------------------------------------------------------------------
def test_the_days_asked_for_are_pulled_and_no_others(postgres: Postgres, puller: Puller, database: str) -> None:
    for day in ("2026-01-04", "2026-01-05", "2026-01-18", "2026-01-19"):
        postgres.execute(f"INSERT INTO mailer VALUES ('{day}', '{day}', 1, 0)", database=database)
    assert puller.table()["output_id"].to_pylist() == ["2026-01-05", "2026-01-18", "a"]


def test_the_file_is_named_by_its_days_and_a_hash(puller: Puller) -> None:
    path = puller.pull()
    assert path is not None
    assert path.name.startswith(f"{FIRST}_{LAST}_")
    assert puller.left() == [path.name]


def test_no_rows_make_no_file(puller: Puller) -> None:
    assert puller.pull(first=date(2025, 1, 1), last=date(2025, 1, 2)) is None
    assert puller.left() == puller.workplaces() == []


def test_days_in_the_wrong_order_are_refused(puller: Puller) -> None:
    assert "Exchange the two" in refusal(puller, first=LAST, last=FIRST)


def test_a_parameter_that_is_not_a_day_of_ours_is_refused(puller: Puller) -> None:
    said = refusal(puller, "SELECT * FROM mailer WHERE output_id = :output")
    assert ":output; there are :first_day and :last_day" in said


@pytest.mark.parametrize("value", ["o'neill", "'; DROP TABLE mailer; --", "100%", "%s", ":first_day", '"x"', "\\"])
def test_values_that_look_like_sql_are_values(postgres: Postgres, puller: Puller, database: str, value: str) -> None:
    quoted = value.replace("'", "''")
    postgres.execute(f"INSERT INTO mailer VALUES ('{quoted}', '2026-01-06', 1, 0)", database=database)
    assert value in puller.table()["output_id"].to_pylist()
    assert postgres.execute("SELECT count(*) FROM mailer", database=database) == [(2,)]


def test_percent_signs_and_casts_in_a_query_mean_what_they_say(puller: Puller) -> None:
    query = (
        "SELECT output_id, day::text AS day, '12:30' AS at FROM mailer WHERE output_id LIKE 'a%' AND day >= :first_day"
    )
    assert puller.table(query).to_pylist() == [{"output_id": "a", "day": "2026-01-06", "at": "12:30"}]


# -- types -----------------------------------------------------------------------------------------------------------
TYPES = {
    "NULL::text": (None, pa.string()),
    "true": (True, pa.bool_()),
    "9223372036854775807": (2**63 - 1, pa.int64()),
    "9223372036854775808::numeric": (Decimal(2**63), pa.decimal128(19, 0)),
    "12.50::numeric(10,2)": (Decimal("12.5"), pa.decimal128(3, 1)),
    "0.00000012::numeric": (Decimal("0.00000012"), pa.decimal128(9, 8)),
    "'NaN'::numeric": ("NaN", pa.string()),
    "1e50::numeric": ("1" + 50 * "0", pa.string()),
    "0.1::float8": (0.1, pa.float64()),
    "'1234.5'::money": ("$1,234.50", pa.string()),
    "'12,5 %'": ("12,5 %", pa.string()),
    "date '2026-01-05'": (date(2026, 1, 5), pa.date32()),
    "timestamp '2026-01-05 23:30'": (datetime(2026, 1, 5, 23, 30), pa.timestamp("us")),
    "timestamptz '2026-01-05 23:30-02'": (datetime(2026, 1, 6, 1, 30, tzinfo=UTC), pa.timestamp("us", "UTC")),
    """'{"b": 1, "a": ["ü"]}'::jsonb""": ('{"a": ["ü"], "b": 1}', pa.string()),
    "ARRAY[1, 2]": ("[1, 2]", pa.string()),
    "'\\xff00'::bytea": ("\\xff00", pa.string()),
    "'12345678-1234-5678-1234-567812345678'::uuid": ("12345678-1234-5678-1234-567812345678", pa.string()),
    "time '23:30'": ("23:30:00", pa.string()),
    "'Zoë 東京 🙂'": ("Zoë 東京 🙂", pa.string()),
}


@pytest.mark.parametrize("expression", TYPES)
def test_a_value_arrives_with_its_type(puller: Puller, expression: str) -> None:
    # A colon in a text is no parameter, but a word after it would be taken for one.
    found = puller.table(f"SELECT {expression.replace(': ', chr(92) + ': ')} AS value")
    assert (found["value"].to_pylist()[0], found.schema.field("value").type) == TYPES[expression]


def test_nulls_change_no_type(puller: Puller) -> None:
    found = puller.table("SELECT * FROM (VALUES (1, NULL), (NULL, 2.5)) AS v (a, b)")
    assert found.schema.types == [pa.int64(), pa.decimal128(2, 1)]
    assert sorted(found.to_pylist(), key=str) == [{"a": 1, "b": None}, {"a": None, "b": Decimal("2.5")}]


def test_a_view_with_days_written_another_way_is_pulled_as_it_writes_them(
    postgres: Postgres, puller: Puller, database: str
) -> None:
    postgres.execute(
        "CREATE VIEW german AS SELECT output_id, to_char(day, 'DD.MM.YYYY') AS tag, sends FROM mailer",
        database=database,
    )
    query = "SELECT * FROM german WHERE to_date(tag, 'DD.MM.YYYY') BETWEEN :first_day AND :last_day"
    assert puller.table(query)["tag"].to_pylist() == ["06.01.2026"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS a, 2 AS a", "gives a more than once"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM mailer", 'column "nothing" does not exist'),
        ("INSERT INTO mailer VALUES ('x', now(), 1, 1)", "syntax error"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused_with_its_text(puller: Puller, query: str, said: str) -> None:
    words = refusal(puller, query)
    assert said in words
    assert words.startswith(f"Feed mailer, query '{query}")


def test_a_query_cannot_write(postgres: Postgres, puller: Puller, database: str) -> None:
    postgres.execute(
        "CREATE FUNCTION sneak() RETURNS integer LANGUAGE sql AS 'DELETE FROM mailer; SELECT 1'", database=database
    )
    assert "write a SELECT that changes nothing" in refusal(puller, "SELECT sneak()")
    assert postgres.execute("SELECT count(*) FROM mailer", database=database) == [(1,)]


# -- secrets ---------------------------------------------------------------------------------------------------------
SECRETS = {
    "wrong password": "postgresql+psycopg://{user}:{secret}@127.0.0.1:{port}/postgres",
    "at sign not escaped": "postgresql+psycopg://{user}:p@{secret}@127.0.0.1:{port}/postgres",
    "slash not escaped": "postgresql+psycopg://{user}:p/{secret}@127.0.0.1:{port}/postgres",
    "as the host": "postgresql+psycopg://{user}@{secret}:{port}/postgres",
    "as the database": "postgresql+psycopg://flywheel_admin:{password}@127.0.0.1:{port}/{secret}",
    "as the port": "postgresql+psycopg://{user}:x@127.0.0.1:{secret}/postgres",
    "in the parameters": "postgresql+psycopg://127.0.0.1:{port}/postgres?user={user}&password={secret}",
    "as a parameter that is none": "postgresql+psycopg://127.0.0.1:{port}/postgres?{secret}=x",
    "no URL": "{secret}",
    "no scheme": "{user}:{secret}@127.0.0.1/postgres",
    "escaped": "postgresql+psycopg://127.0.0.1:{port}/%73wordfish-4711",
    "as the scheme": "{secret}://127.0.0.1/postgres",
    "unknown database": "oracle+nonsense://{user}:{secret}@127.0.0.1/x",
    "missing driver": "mysql+mysqldb://{user}:{secret}@127.0.0.1/x",
}


@pytest.mark.parametrize("where", SECRETS)
def test_a_secret_in_a_wrong_url_shows_nowhere(
    postgres: Postgres, tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "swordfish-4711"
    url = SECRETS[where].format(user="nobody_there", secret=secret, port=postgres.port, password=PASSWORD)
    puller = Puller(url, tmp_path)
    with caplog.at_level("DEBUG"):
        said = refusal(puller)
    assert VARIABLE in said
    assert secret not in said + caplog.text + repr(puller.folder)


def test_control_the_driver_itself_would_have_said_it(postgres: Postgres) -> None:
    import sqlalchemy
    from sqlalchemy.exc import OperationalError

    url = SECRETS["as the database"].format(secret="swordfish-4711", port=postgres.port, password=PASSWORD)
    with pytest.raises(OperationalError, match="swordfish-4711"):
        sqlalchemy.create_engine(url).connect()


def test_nothing_of_the_url_stands_in_the_file(postgres: Postgres, puller: Puller) -> None:
    path = puller.pull()
    assert path is not None
    content = path.read_bytes() + str(pq.read_schema(path).metadata).encode()
    assert not [word for word in (PASSWORD, str(postgres.port), "127.0.0.1", VARIABLE) if word.encode() in content]


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    said = refusal(Puller("", tmp_path))
    assert f"the environment variable {VARIABLE} is not set" in said


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    assert "pip install MySQLdb" in refusal(Puller("mysql+mysqldb://me@localhost/x", tmp_path))


@pytest.mark.parametrize(("module", "key"), [("sqlalchemy", "sql"), ("dlt", "dlt")])
def test_a_missing_extra_says_what_to_install(tmp_path: Path, module: str, key: str) -> None:
    source = {"sql": {"url_variable": "U", "query": "SELECT 1"}, "dlt": {"pipeline": "mail", "table": "mailer"}}[key]
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from datetime import date; from pathlib import Path\n"
        "from flywheel_pipelines.feedback.sources import pull\n"
        "from flywheel_pipelines.spec import FeedSpec\n"
        f"feed = FeedSpec.model_validate({{'kind': 'metrics', {key!r}: {source!r}}})\n"
        f"pull(feed, date(2026, 1, 5), date(2026, 1, 6), Path({str(tmp_path)!r}), name='mailer', "
        f"environment={{'U': 'sqlite://'}}, data_folder=Path({str(tmp_path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    assert f"pip install 'flywheel-pipelines[{key}]'" in done.stderr.splitlines()[-1]


# -- refusals of the database ----------------------------------------------------------------------------------------
def test_a_user_who_may_not_read_is_told_so(postgres: Postgres, puller: Puller, database: str) -> None:
    limited = Puller(postgres.url(database, user=postgres.new_user()), puller.root)
    said = refusal(limited)
    assert "permission denied for table mailer" in said
    assert "Have SELECT granted" in said


def test_a_query_that_takes_too_long_is_given_up(puller: Puller) -> None:
    started = datetime.now(UTC)
    said = refusal(puller, "SELECT pg_sleep(60)", timeout=0.3)
    assert "canceling statement due to statement timeout" in said
    assert "It has 0.3 s" in said
    assert datetime.now(UTC) - started < timedelta(seconds=20)


def test_rows_that_keep_coming_slowly_are_given_up_too(puller: Puller) -> None:
    """A server counts the time of each piece that is fetched; we count all of them."""
    query = "SELECT pg_sleep(0.0001) IS NULL AS a, g FROM generate_series(1, 1000000) AS g"
    assert "It has 1 s" in refusal(puller, query, timeout=1)


def test_a_server_that_goes_away_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with started_postgres() as server:
        puller = Puller(server.url(), tmp_path)
        query = "SELECT g FROM generate_series(1, 1000000) AS g WHERE g < 6000 OR pg_sleep(0.001) IS NOT NULL"
        stopping = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(2); import sys; sys.path.insert(0, '.')\n"
             "from pathlib import Path; from flywheel_pipelines_tests.postgres import Postgres\n"
             f"Postgres(Path({str(server.programs)!r}), Path({str(server.folder)!r}), {server.port}).stop()"],
            cwd=PROJECT_ROOT,
        )  # fmt: skip
        said = refusal(puller, query)
        stopping.wait()
    assert "The connection broke off. Pull again" in said


def test_after_a_failure_the_next_pull_works(postgres: Postgres, puller: Puller) -> None:
    refusal(puller, "SELECT nothing FROM mailer")
    assert puller.pull() is not None


def test_what_a_killed_pull_left_is_removed_by_the_next(puller: Puller) -> None:
    left = puller.folder / ".pull-killed"
    left.mkdir(parents=True)
    (left / "rows").write_text("half")
    puller.pull()
    assert puller.workplaces() == []


def test_two_pulls_of_one_feed_do_not_run_at_once(puller: Puller) -> None:
    with workplace(puller.folder, feed="mailer"), pytest.raises(FlywheelError, match="another pull of it is running"):
        puller.pull()
    assert puller.pull() is not None


# -- another database ------------------------------------------------------------------------------------------------
@pytest.fixture
def in_sqlite(tmp_path: Path) -> Puller:
    """The same code on a database that needs no server."""
    with closing(sqlite3.connect(tmp_path / "mail.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE mailer (output_id text, day text, sends, replies integer)")
        connection.execute("INSERT INTO mailer VALUES ('a', '2026-01-06', 40, 3), ('b', '2026-01-20', 1, 0)")
    return Puller(f"sqlite:///{tmp_path / 'mail.sqlite'}", tmp_path)


def test_another_database_is_read_by_the_same_feed(in_sqlite: Puller) -> None:
    assert in_sqlite.table().to_pylist() == [{"output_id": "a", "day": "2026-01-06", "sends": 40, "replies": 3}]


def test_another_database_is_not_written_either(in_sqlite: Puller) -> None:
    said = refusal(in_sqlite, "INSERT INTO mailer VALUES ('x', '2026-01-06', 1, 1) RETURNING output_id")
    assert "write a SELECT that changes nothing" in said


def test_a_query_of_another_database_is_given_up_too(in_sqlite: Puller) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    assert "It has 0.5 s" in refusal(in_sqlite, endless, timeout=0.5)
