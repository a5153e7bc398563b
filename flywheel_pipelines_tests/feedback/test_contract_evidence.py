"""What Great Expectations gets to see: all that breaks a rule, quickly, and nothing leaves the machine."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel_pipelines.cycles import cycle_end, cycle_start
from flywheel_pipelines.feedback.contracts import evidence, feed_contract
from flywheel_pipelines.feedback.contracts.evidence import batches_of_feed, read_facts
from flywheel_pipelines.feedback.contracts.rules import BAND, HISTORY, MIN_HISTORY
from flywheel_pipelines.feedback.contracts.suite import validate
from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import write_atomically
from flywheel_pipelines_tests.feedback.contract_lakes import (
    NAME,
    WEEKS,
    ContractLake,
    broken,
    measurement,
    output_id,
)

WEEK = WEEKS[0]
DAY = WEEK + timedelta(days=1)


# -- the SQL that marks rows, and Great Expectations -----------------------------------------------------------------
FACTS = st.lists(
    st.fixed_dictionaries(
        {
            "output_id": st.sampled_from([output_id(WEEK, 0), output_id(WEEK, 1), "nobody", None]),
            "measure": st.sampled_from(["sends", "replies", None]),
            "measured_on": st.sampled_from([DAY, None]),
            "value": st.sampled_from([0.0, 3.0, 40.0, 1.5, -1.0, float("nan"), float("inf"), -0.0, None]),
            "source_row": st.integers(1, 3),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=FACTS)
def test_sql_marks_exactly_the_rows_that_great_expectations_objects_to(
    tmp_path_factory: pytest.TempPathFactory, facts: list[dict[str, Any]]
) -> None:
    lake = ContractLake(tmp_path_factory.mktemp("lake")).publish([WEEK])
    lake.put("mailer", tables.METRIC_LEDGER, facts, cycle=WEEK, batch="one")
    contract = feed_contract(lake.spec, "mailer")
    found = read_facts(lake.lake, contract, [WEEK], batches_of_feed(lake.lake, contract), [])
    results = validate(contract, {"facts": found.rows}, {"facts": found.n_facts})
    with duckdb.connect() as connection:
        connection.register("frame", pa.Table.from_pandas(found.rows, preserve_index=False))
        for result in results:
            [[count]] = connection.execute(f"select count(*) from frame where {result.rule.violation}").fetchall()
            assert (result.rule.name, result.n_failed) == (result.rule.name, count)


def test_of_a_large_feed_all_that_breaks_a_rule_is_seen_and_little_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "WHOLE_UP_TO", 3)
    monkeypatch.setattr(evidence, "FINE_ROWS", 2)
    lake = ContractLake(tmp_path).publish(WEEKS[:2])
    lake.measure(WEEK)
    lake.put("mailer", tables.METRIC_LEDGER, [measurement("nobody", "sends", 1.5, DAY)] * 2, cycle=WEEK, batch="bad")
    findings = lake.check("mailer", WEEK)
    assert findings.n_facts == 10
    assert broken(findings) == {"counts": 2, "known_outputs": 2}
    contract = feed_contract(lake.spec, "mailer")
    assert len(read_facts(lake.lake, contract, [WEEK], batches_of_feed(lake.lake, contract), []).rows) == 4


def test_a_rule_that_is_broken_too_often_to_be_counted_says_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "WHOLE_UP_TO", 3)
    monkeypatch.setattr(evidence, "MOST_SUSPECTS", 5)
    lake = ContractLake(tmp_path).publish([WEEK])
    facts = [measurement(output_id(WEEK), "sends", 1.5, DAY) for _ in range(9)]
    lake.put("mailer", tables.METRIC_LEDGER, facts, cycle=WEEK, batch="bad")
    findings = lake.check("mailer", WEEK)
    assert broken(findings) == {"counts": 5}
    assert "at least 5 of 9 facts" in findings.words


def test_cycles_are_taken_together_or_apart_with_the_same_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = ContractLake(tmp_path).publish(WEEKS[:3])
    for week in WEEKS[:3]:
        lake.measure(week)
    lake.put("mailer", tables.METRIC_LEDGER, [measurement("x", "sends", -1.0, DAY)], cycle=WEEKS[1], batch="bad")
    together = lake.check("mailer", *WEEKS[:3])
    monkeypatch.setattr(evidence, "FACTS_AT_ONCE", 8)
    apart = lake.check("mailer", *WEEKS[:3])
    assert broken(together) == broken(apart) == {"counts": 1, "known_outputs": 1}
    assert together.n_facts == apart.n_facts == 25


def test_a_batch_without_its_row_in_the_book_does_not_count(tmp_path: Path) -> None:
    lake = ContractLake(tmp_path).publish([WEEK])
    lake.measure(WEEK)
    before = lake.check("mailer", WEEK)
    folder = lake.lake.partition_dir(tables.METRIC_LEDGER, flywheel=NAME, cycle=WEEK)
    (folder / "cut-off.parquet").write_bytes(b"half a file")
    assert lake.check("mailer", WEEK).words == before.words


# -- volume ----------------------------------------------------------------------------------------------------------
def history(tmp_path: Path, *sizes: int) -> ContractLake:
    """Weeks with so many facts each, and a last one without any yet."""
    lake = ContractLake(tmp_path).publish(WEEKS[: len(sizes) + 1])
    for week, size in zip(WEEKS, sizes, strict=False):
        facts = [measurement(output_id(week), "sends", 4.0, week + timedelta(days=n % 7)) for n in range(size)]
        lake.put("mailer", tables.METRIC_LEDGER, facts, cycle=week, batch=f"of-{week}")
    return lake


USUAL = (20, 22, 18, 20, 21, 19)


@pytest.mark.parametrize(
    ("last", "is_usual"), [(20, True), (29, True), (11, True), (31, False), (9, False), (60, False)]
)
def test_a_volume_far_from_its_history_warns(tmp_path: Path, last: int, is_usual: bool) -> None:
    """The median is 20; a band of four times an eighth of it, so 10 to 30."""
    findings = history(tmp_path, *USUAL, last).check("mailer", WEEKS[len(USUAL)])
    assert ("volume" in broken(findings)) is not is_usual
    assert findings.verdict == ("passed" if is_usual else "warned")


def test_a_volume_that_varies_is_given_a_wider_band(tmp_path: Path) -> None:
    assert broken(history(tmp_path, 10, 30, 12, 28, 15, 25, 40).check("mailer", WEEKS[6])) == {}


def test_too_short_a_history_judges_nothing(tmp_path: Path) -> None:
    few = USUAL[: MIN_HISTORY - 1]
    assert broken(history(tmp_path / "few", *few, 500).check("mailer", WEEKS[len(few)])) == {}
    enough = USUAL[:MIN_HISTORY]
    assert broken(history(tmp_path / "enough", *enough, 500).check("mailer", WEEKS[MIN_HISTORY])) == {"volume": 1}


def test_a_cycle_whose_measurement_window_is_open_is_not_judged(tmp_path: Path) -> None:
    """The last week was opened and has little yet; the one before it is judged."""
    lake = history(tmp_path, *USUAL, 20)
    lake.put("mailer", tables.METRIC_LEDGER, [], cycle=None, batch="empty")
    assert broken(lake.check("mailer", WEEKS[len(USUAL) + 1])) == {}


def test_a_file_that_is_handed_in_again_under_its_name_counts_once(tmp_path: Path) -> None:
    lake = history(tmp_path, *USUAL, 20)
    week = WEEKS[len(USUAL)]
    facts = [measurement(output_id(week), "sends", 5.0, week + timedelta(days=n % 7)) for n in range(20)]
    again = {"cycle": week, "batch": "again", "recorded_at": cycle_end(week, lake.spec.cadence) + timedelta(hours=1)}
    lake.put("mailer", tables.METRIC_LEDGER, facts, source=f"of-{week}.csv", **again)
    assert broken(lake.check("mailer", week)) == {}


def test_the_band_alarms_falsely_about_once_in_a_hundred_cycles() -> None:
    """As documented: independent normal volumes with a quarter of their mean as standard deviation, full history."""
    draws = np.random.default_rng(1).normal(1000, 250, (20_000, HISTORY + 1))
    past, last = draws[:, :-1], draws[:, -1]
    usual = np.median(past, axis=1)
    spread = 1.4826 * np.median(abs(past - usual[:, None]), axis=1)
    alarms = abs(last - usual) / np.maximum(spread, 0.125 * usual) > BAND
    assert 0.001 < alarms.mean() < 0.03


# -- costs -----------------------------------------------------------------------------------------------------------
def test_a_small_cycle_is_judged_in_a_fraction_of_a_second(tmp_path: Path) -> None:
    """Of processor time, since a shared machine says little about seconds on the wall; a close is judged per feed."""
    lake = ContractLake(tmp_path).publish([WEEK])
    lake.measure(WEEK)
    lake.check("mailer", WEEK)
    started = time.process_time()
    for _ in range(3):
        lake.check("mailer", WEEK)
    assert (time.process_time() - started) / 3 < 0.6


@pytest.mark.slow
def test_a_million_facts_are_judged_within_seconds(tmp_path: Path) -> None:
    n_outputs, days = 25_000, 20
    lake = ContractLake(tmp_path)
    ids = [f"o{number}" for number in range(n_outputs)]
    published = pa.table({"output_id": ids})
    blank = tables.PUBLISHED_OUTPUTS.schema
    columns = {
        field.name: published["output_id"] if field.name == "output_id" else pa.nulls(n_outputs, field.type)
        for field in blank
    }
    loose = pa.schema([field.with_nullable(True) for field in blank])
    folder = lake.lake.partition_dir(tables.PUBLISHED_OUTPUTS, flywheel=NAME, cycle=WEEK)
    write_atomically(folder / "part.parquet", pa.table(columns, schema=loose))
    n_facts = n_outputs * days * 2
    facts = {
        "output_id": np.repeat(ids, days * 2),
        "measure": np.tile(["sends", "replies"], n_outputs * days),
        "measured_on": np.tile(
            np.repeat(np.array([WEEK + timedelta(days=n) for n in range(days)], dtype=object), 2), n_outputs
        ),
        "value": np.tile([40.0, 4.0], n_outputs * days),
        "feed": ["mailer"] * n_facts,
        "batch_id": ["big"] * n_facts,
        "recorded_at": [cycle_start(WEEKS[1])] * n_facts,
        "source_row": np.repeat(np.arange(1, n_outputs * days + 1), 2),
    }
    facts["value"][-1] = 1e9
    lake.put("mailer", tables.METRIC_LEDGER, [], cycle=WEEK, batch="big")
    folder = lake.lake.partition_dir(tables.METRIC_LEDGER, flywheel=NAME, cycle=WEEK)
    write_atomically(folder / "big.parquet", pa.table(facts, schema=tables.METRIC_LEDGER.schema))
    lake.check("desk", WEEK)
    started = time.process_time()
    findings = lake.check("mailer", WEEK)
    seconds = time.process_time() - started
    assert findings.n_facts == n_facts == 1_000_000
    assert broken(findings) == {"reply_rate_within_exposure": 1}
    assert seconds < 20


# -- nothing leaves the machine --------------------------------------------------------------------------------------
SCRIPT = """
import sys
from pathlib import Path
seen = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        seen.append((event, str(args)))
        raise ConnectionRefusedError("this process may not connect")
sys.addaudithook(hook)
from flywheel_pipelines_tests.feedback.contract_lakes import WEEKS, ContractLake
assert "great_expectations" not in sys.modules, "imported before it is needed"
lake = ContractLake(Path(sys.argv[1])).publish(WEEKS[:1])
lake.measure(WEEKS[0])
assert lake.check("mailer", WEEKS[0]).verdict == "passed"
assert "great_expectations" in sys.modules
if "control" in sys.argv:
    import socket
    try:
        socket.create_connection(("127.0.0.1", 9))
    except ConnectionRefusedError:
        pass
# Whatever a library sends, it sends at the latest when the process ends.
import atexit
atexit._run_exitfuncs()
print(len(seen))
"""


def connections(folder: Path, *arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_validating_attempts_no_connection_and_imports_late(tmp_path: Path) -> None:
    assert connections(tmp_path) == 0


def test_control_an_attempt_to_connect_is_seen(tmp_path: Path) -> None:
    assert connections(tmp_path, "control") > 0


def test_a_day_is_a_day(tmp_path: Path) -> None:
    """Samples name days as people write them."""
    lake = ContractLake(tmp_path).publish([WEEK])
    lake.put("mailer", tables.METRIC_LEDGER, [measurement("x", "sends", 1.0, DAY)], cycle=WEEK, batch="one")
    [result] = [result for result in lake.check("mailer", WEEK).rules if not result.passed]
    assert result.samples[0]["cycle"] == date(2026, 1, 5)
