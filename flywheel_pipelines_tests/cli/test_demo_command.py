"""`flywheel demo`, `report` and `ingest`: simulated and called so, always offline, nobody's data lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT, DataPaths
from flywheel_pipelines_tests.cli.runner import Ran, Run
from flywheel_pipelines_tests.small_world import fingerprint

FLYWHEEL = "outreach"
KEY = "sk-test-of-nobody-0815"
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataPaths, Ran]:
    """Two cycles of one flywheel, as a process of its own, with a provider in its environment that nobody can reach.

    Read only.
    """
    data = tmp_path_factory.mktemp("demonstrated") / "data"
    environment = {
        **os.environ,
        DATA_DIR_VARIABLE: str(data),
        "DAGSTER_HOME": str(data / "dagster_home"),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": NOWHERE,
    }
    line = [sys.executable, "-m", "flywheel_pipelines.cli", "demo", "--cycles", "2", "--flywheel", FLYWHEEL, "--json"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=PROJECT_ROOT)
    return DataPaths(data), Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def there(demonstrated: tuple[DataPaths, Ran], monkeypatch: pytest.MonkeyPatch) -> DataPaths:
    """Its data directory in force; only for commands that read, and those that are refused."""
    paths, ran = demonstrated
    assert ran.code == 0, ran.err
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(paths.root))
    monkeypatch.setenv("DAGSTER_HOME", str(paths.dagster_home))
    return paths


# -- the demo --------------------------------------------------------------------------------------------------------
def test_the_demo_prints_one_document_with_what_scripts_look_for(demonstrated: tuple[DataPaths, Ran]) -> None:
    _, ran = demonstrated
    assert ran.code == 0, ran.err
    (found,) = ran.json
    assert (found["flywheel"], found["is_synthetic"], found["cycles_run"]) == (FLYWHEEL, True, 2)
    assert {"lift", "interval", "audit", "costs", "page", "plot"} <= found.keys()
    assert len(found["audit"]["items"]) == 7
    assert "2 of 2" in ran.err


def test_the_offline_writer_writes_whatever_provider_is_configured(there: DataPaths) -> None:
    models = Lake(there.lake).read(tables.LLM_REQUESTS, FLYWHEEL, columns=["model"])["model"].to_pylist()
    assert set(models) == {"offline-writer"}


def test_the_page_says_that_it_is_simulated_and_needs_nothing_from_elsewhere(
    demonstrated: tuple[DataPaths, Ran], there: DataPaths
) -> None:
    page = Path(demonstrated[1].json[0]["page"]).read_text(encoding="utf-8")
    assert "SIMULATED" in page
    assert "a simulation" in page
    assert 'src="http' not in page
    assert "<script" not in page
    assert Path(demonstrated[1].json[0]["plot"]).read_bytes().startswith(b"\x89PNG")


def test_costs_add_up_to_what_the_ledger_holds(demonstrated: tuple[DataPaths, Ran], there: DataPaths) -> None:
    rows = Lake(there.lake).read(tables.LLM_REQUESTS, FLYWHEEL).to_pylist()
    total = demonstrated[1].json[0]["costs"][-1]
    assert total["quarter"] is None
    assert total["requests"] == len(rows)
    assert total["tokens"] == sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
    assert total["cost"] == pytest.approx(sum(row["cost"] for row in rows))
    assert total["published"] == Lake(there.lake).read(tables.PUBLISHED_OUTPUTS, FLYWHEEL).num_rows


@pytest.mark.parametrize("mart", ["cycles", "outputs", "momentum", "costs", "lineage", "reference_corpus"])
def test_every_mart_says_that_its_rows_are_simulated(there: DataPaths, run: Run, mart: str) -> None:
    ran = run("sql", "--json", "-c", f"select distinct is_synthetic from {mart} where flywheel = '{FLYWHEEL}'")
    assert [row["is_synthetic"] for row in ran.json] in ([True], [])
    assert mart == "reference_corpus" or ran.json


def test_report_writes_the_same_page_again(there: DataPaths, run: Run) -> None:
    before = fingerprint(there.reports)
    assert before
    ran = run("report", "--flywheel", FLYWHEEL)
    assert ran.code == 0
    assert "simulated data" in ran.said
    assert str(there.reports / f"{FLYWHEEL}.html") in "".join(ran.out.split("\n"))
    assert fingerprint(there.reports) == before


def test_report_of_a_flywheel_that_never_ran_is_refused_in_words(run: Run, empty: Path) -> None:
    ran = run("report", "--flywheel", FLYWHEEL)
    assert ran.code == 2
    assert ran.err.count("error: ") == 1
    assert FLYWHEEL in ran.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--world", "round"), "--world: found 'round'; allowed are lively and flat"),
        (("--floor", "high"), "--floor: found 'high'; allowed are on and off"),
        (("--flywheel", "nobody"), "--flywheel: found 'nobody'; there are archive_headlines, content, outreach, "),
    ],
)
def test_options_that_mean_nothing_are_refused(run: Run, empty: Path, arguments: tuple[str, str], said: str) -> None:
    ran = run("demo", *arguments)
    assert ran.code == 2
    assert said in ran.said
    assert not empty.exists()


def test_a_flywheel_without_measures_that_an_audience_has_is_refused(run: Run, empty: Path) -> None:
    """An archive's flywheel has no feeds to bring simulated measurements by."""
    ran = run("demo", "--flywheel", "archive_headlines", "--cycles", "1")
    assert ran.code == 2
    assert "archive_headlines" in ran.said


# -- somebody's own data ---------------------------------------------------------------------------------------------
def test_a_demo_does_not_replace_what_somebody_ingested(run: Run, empty: Path, tmp_path: Path) -> None:
    assert run("ingest", leads(tmp_path), "--flywheel", FLYWHEEL, "--feed", "leads").code == 0
    before = fingerprint(empty / "lake")
    ran = run("demo", "--cycles", "1", "--flywheel", FLYWHEEL)
    assert ran.code == 2
    assert "holds data that no demo brought (mine.csv)" in ran.said
    assert fingerprint(empty / "lake") == before


@pytest.mark.parametrize("name", ["llm.csv", "prompt.csv", "sample briefs.csv"])
def test_the_name_of_a_file_makes_it_nobody_elses(run: Run, empty: Path, tmp_path: Path, name: str) -> None:
    run("ingest", leads(tmp_path, name=name), "--flywheel", FLYWHEEL, "--feed", "leads")
    assert name in run("demo", "--cycles", "1", "--flywheel", FLYWHEEL).said


def test_a_demo_does_not_replace_answers_that_were_paid(run: Run, empty: Path) -> None:
    lake = Lake(empty / "lake")
    row = {
        "request_key": "k", "brief_id": "b", "arm": "control", "variant": 0, "attempt": 1, "model": "gpt-5-mini",
        "prompt_version": "p", "mode": "live", "structured_output": "prompt", "messages": "[]", "status": "answered",
        "answer": "{}", "error": None, "n_tries": 1, "tries": "[]", "prompt_tokens": 1, "cached_tokens": 0,
        "completion_tokens": 1, "cost": 1.0, "latency": 1.0,
    }  # fmt: skip
    paid(lake, row)
    ran = run("demo", "--cycles", "1", "--flywheel", FLYWHEEL)
    assert ran.code == 2
    assert "answers of gpt-5-mini" in ran.said
    assert lake.read(tables.LLM_REQUESTS, FLYWHEEL).num_rows == 1


def paid(lake: Lake, row: dict[str, object]) -> None:
    """One request of somebody who opened a cycle with a provider."""
    from datetime import UTC, date, datetime

    import pyarrow as pa

    cycle, at = date(2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC)
    schema = pa.schema([("cycle", pa.date32()), *tables.LLM_REQUESTS.schema])
    fact = {"cycle": cycle, **row, "batch_id": "b1", "recorded_at": at, "source_row": 1}
    header = {
        "batch_id": "b1", "source": "llm", "recorded_at": at, "n_rows": 1, "n_quarantined": 0, "first_cycle": cycle,
        "last_cycle": cycle,
    }  # fmt: skip
    lake.append_batch(FLYWHEEL, header, {tables.LLM_REQUESTS: pa.Table.from_pylist([fact], schema)})


@pytest.mark.slow
def test_a_demo_replaces_an_earlier_demo_and_gives_the_same_bytes(
    demonstrated: tuple[DataPaths, Ran], run: Run, empty: Path
) -> None:
    first = run("demo", "--cycles", "3", "--flywheel", FLYWHEEL)
    assert first.code == 0, first.err
    again = run("demo", "--cycles", "2", "--flywheel", FLYWHEEL)
    assert again.code == 0, again.err
    own = ("llm_requests", "batches", "input_versions")
    assert fingerprint(empty / "lake", *own) == fingerprint(demonstrated[0].lake, *own)
    for folder in ("outbox", "inbox", "reports"):
        assert fingerprint(empty / folder) == fingerprint(demonstrated[0].root / folder)


# -- ingest ----------------------------------------------------------------------------------------------------------
def leads(folder: Path, *rows: str, name: str = "mine.csv") -> Path:
    path = folder / name
    header = "lead_id,date,industry,locale,title,product"
    body = rows or ("l1,2026-01-05,hotels,en,Guest messaging,the guest inbox",)
    path.write_text("\n".join([header, *body]) + "\n", encoding="utf-8")
    return path


def ingest(run: Run, file: Path, feed: str = "leads") -> Ran:
    return run("ingest", file, "--flywheel", FLYWHEEL, "--feed", feed)


def test_days_that_are_no_days_or_the_wrong_way_round_are_refused(run: Run, empty: Path, tmp_path: Path) -> None:
    same = ("ingest", leads(tmp_path), "--flywheel", FLYWHEEL, "--feed", "leads")
    for options, words in (
        (("--from", "soon"), "expected days"),
        (("--from", "2026-01-12", "--to", "2026-01-05"), "after"),
    ):
        ran = run(*same, *options)
        assert (ran.code, words in ran.err) == (2, True)


def test_a_file_is_ingested_once(run: Run, empty: Path, tmp_path: Path) -> None:
    ran = ingest(run, leads(tmp_path))
    assert ran.code == 0
    assert "1 rows of" in ran.said
    assert "about the cycles 2026-01-05 to 2026-01-05" in ran.said
    before = fingerprint(empty / "lake")
    again = ingest(run, leads(tmp_path))
    assert again.code == 0
    assert "was ingested before; nothing changed" in again.said
    assert fingerprint(empty / "lake") == before


def test_rows_that_cannot_be_used_are_told_and_kept(run: Run, empty: Path, tmp_path: Path) -> None:
    good = "l1,2026-01-05,hotels,en,Guest messaging,the guest inbox"
    ran = ingest(run, leads(tmp_path, good, "l2,2026-02-30,hotels,en,No such day,x", "l3,2026-01-05"))
    assert ran.code == 0
    assert "2 are in quarantine" in ran.said
    assert "row 2, date" in ran.err
    kept = Lake(empty / "lake").read(tables.QUARANTINE, FLYWHEEL).to_pylist()
    assert [row["source_row"] for row in kept] == [2, 3]
    assert Lake(empty / "lake").read(tables.BRIEF_LEDGER, FLYWHEEL).num_rows == 1


def test_measurements_of_outputs_that_nobody_published_are_put_aside(run: Run, empty: Path, tmp_path: Path) -> None:
    path = tmp_path / "mailer.csv"
    path.write_text("tracking_tag,sent_on,sends,opens,replies,unsubscribes\nabc,2026-01-06,10,5,1,0\n")
    ran = ingest(run, path, feed="mailer")
    assert ran.code == 0
    assert "1 are in quarantine" in ran.said


@pytest.mark.parametrize(
    ("make", "feed", "said"),
    [
        (leads, "letters", "Feed 'letters' of outreach: there is none of that name; there are leads, mailer"),
        (lambda folder: folder / "nothing.csv", "leads", "nothing.csv"),
        (leads, "mailer", "mine.csv"),
    ],
    ids=["wrong_feed", "no_file", "the_other_feeds_file"],
)
def test_a_file_that_cannot_be_ingested_is_refused_in_words(
    run: Run, empty: Path, tmp_path: Path, make, feed: str, said: str
) -> None:
    ran = ingest(run, make(tmp_path), feed)
    assert ran.code == 2
    assert ran.err.count("error: ") == 1
    assert said in ran.said
    assert not list(empty.rglob("*.parquet"))


# -- the offline writer as a command ---------------------------------------------------------------------------------
def test_the_offline_writer_serves_the_openai_client_until_it_is_stopped() -> None:
    from openai import OpenAI

    line = [sys.executable, "-u", "-m", "flywheel_pipelines.cli", "offline-llm", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT_ROOT) as server:
        try:
            assert server.stdout is not None
            greeting = "".join(server.stdout.readline() for _ in range(3))
            address = next(word for word in greeting.split() if word.startswith("http://127.0.0.1:"))
            client = OpenAI(base_url=address, api_key="none", max_retries=0)
            said = [
                client.chat.completions.create(
                    model="offline-writer", messages=[{"role": "user", "content": "Write a subject line about bread."}]
                )
                for _ in range(2)
            ]
            client.close()
        finally:
            server.terminate()
    assert "no language model is involved" in greeting
    assert said[0].choices[0].message.content == said[1].choices[0].message.content != ""
    assert said[0].usage is not None
    assert said[0].usage.total_tokens > 0


def test_a_port_that_is_taken_is_refused_in_words(run: Run) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = run("offline-llm", "--port", str(taken.getsockname()[1]))
    assert ran.code == 2
    assert "Cannot listen on 127.0.0.1" in ran.said
