"""`flywheel status`, `audit`, `trace` and `sql`: what people and scripts see, and that looking changes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from flywheel_pipelines.lake import tables
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.small_world import CLOSED, FLYWHEEL, SmallWorld


# -- looking at what is there ----------------------------------------------------------------------------------------
def test_status_of_a_replayed_flywheel(run: Run, there: SmallWorld) -> None:
    row = run("status", "--json").json[0]
    assert (row["flywheel"], row["n_closed"], row["last_closed"]) == (FLYWHEEL, len(CLOSED), CLOSED[-1].isoformat())
    assert (row["n_quarantined"], row["n_stale"], row["open_cycle"], row["data"]) == (3, 0, None, "synthetic")
    assert row["lower"] < row["lift"] < row["upper"]


def test_status_where_nothing_ever_ran(run: Run, empty: Path) -> None:
    row = run("status", "--json").json[0]
    assert (row["data"], row["n_closed"], row["lift"]) == ("none yet", 0, None)
    assert run("status").code == 0


def test_a_correction_shows_in_status(run: Run, copied: SmallWorld) -> None:
    copied.correct(CLOSED[3])
    assert run("status", "--json").json[0]["n_stale"] == 1


def test_after_restating_all_that_a_correction_touches_nothing_is_stale(run: Run, copied: SmallWorld) -> None:
    """What was published on top of the old learning is history, and no longer waits for anything."""
    copied.correct(CLOSED[3])
    copied.close(CLOSED[3], CLOSED[-1])
    assert run("status", "--json").json[0]["n_stale"] == 0


def test_audit_shows_seven_items_with_their_evidence(run: Run, there: SmallWorld) -> None:
    found = run("audit", "--json").json
    assert [item["item"] for item in found["items"]] == list(range(1, 8))
    assert all(item["evidence"] for item in found["items"])
    assert found["cycle"] == CLOSED[-1].isoformat()
    assert run("audit").code == 0


def test_audit_before_anything_ran_says_what_to_do(run: Run, empty: Path) -> None:
    ran = run("audit")
    assert ran.code == 2
    assert "flywheel demo" in ran.said


def a_reference(world: SmallWorld) -> str:
    entries = world.lake.read(tables.REFERENCE_CORPUS, FLYWHEEL, CLOSED[-2]).sort_by("rank")
    return entries["reference_id"].to_pylist()[0]


def test_trace_leads_from_an_output_to_what_it_became_a_reference_for(run: Run, there: SmallWorld) -> None:
    output = a_reference(there)
    found = run("trace", output, "--json").json
    assert found["output"]["output_id"] == output
    assert found["cycle"]["cycle"] == found["output"]["cycle"]
    assert {row["kind"] for row in found["used_by"]} == {"corpus", "prompt", "cycle"}
    shown = run("trace", output)
    assert shown.code == 0
    for part in ("produced by", "published", "judged", "became a reference for", "promote"):
        assert part in shown.out


def test_control_an_output_that_was_no_winner_became_nothing(run: Run, there: SmallWorld) -> None:
    rejected = there.lake.read(tables.SCORED_OUTPUTS, FLYWHEEL, where="decision = 'reject'")["output_id"][0].as_py()
    assert run("trace", rejected, "--json").json["reference"] is None
    assert "it never entered the reference corpus" in run("trace", rejected).out


@pytest.mark.parametrize("output", ["nobody", "' or 1=1 --", ""])
def test_trace_of_an_output_there_is_not(run: Run, there: SmallWorld, output: str) -> None:
    ran = run("trace", output)
    assert ran.code == 2
    assert "is not in" in ran.said


def test_sql_answers_one_query_and_leaves(run: Run, there: SmallWorld) -> None:
    ran = run("sql", "-c", "select count(*) as n, max(cycle) as last from cycles", "--json")
    assert ran.json == [{"n": len(CLOSED), "last": CLOSED[-1].isoformat()}]
    assert "1 row(s)" in run("sql", "-c", "select 1 as one").out


def test_sql_prints_json_that_is_json(run: Run, there: SmallWorld) -> None:
    query = "select 'nan'::double as a, ['inf'::double] as b, 1.5::decimal(9, 2) as c, null as d, {'x': 1} as e"
    assert run("sql", "-c", query, "--json").json == [{"a": None, "b": [None], "c": "1.50", "d": None, "e": {"x": 1}}]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into momentum select * from momentum",
        "create table mine (a int)",
        "drop table momentum",
        "delete from momentum",
        "select 1; update momentum set lift = 1",
    ],
)
def test_sql_reads_only(run: Run, there: SmallWorld, statement: str) -> None:
    before = there.paths.published_file.read_bytes()
    ran = run("sql", "-c", statement)
    assert ran.code == 2
    assert "read-only" in ran.said
    assert there.paths.published_file.read_bytes() == before


def test_sql_that_is_wrong_is_answered_with_duckdbs_words(run: Run, there: SmallWorld) -> None:
    ran = run("sql", "-c", "select nothing from cycles")
    assert ran.code == 2
    assert "The query was refused" in ran.said
    assert "nothing" in ran.said


@pytest.mark.parametrize("arguments", [("sql", "-c", "select 1"), ("sql",), ("trace", "x")])
def test_before_anything_is_published_the_error_says_what_to_do(run: Run, empty: Path, arguments) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert "nothing was published yet" in ran.said
    assert "flywheel replay FILE" in ran.said
    assert not empty.exists()


def test_a_published_file_that_is_none_is_an_error_in_words(run: Run, empty: Path) -> None:
    empty.mkdir()
    (empty / "flywheel.duckdb").write_bytes(b"no database" * 1000)
    ran = run("sql", "-c", "select 1")
    assert ran.code == 2
    assert "cannot be opened" in ran.said


def test_the_prompt_survives_a_wrong_query_and_ends_with_the_input(
    run: Run, there: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["select nothing;", "select count(*) as n", "from cycles;"])

    def typed(_: str) -> str:
        with contextlib.suppress(StopIteration):
            return next(lines)
        raise EOFError

    monkeypatch.setattr("builtins.input", typed)
    ran = run("sql")
    assert ran.code == 0
    assert "The query was refused" in ran.said
    assert f" {len(CLOSED)} " in ran.out
