"""Benchmarks run, at their smallest. What they measure is not tested: a time depends on the machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from benchmarks import close_cost, ingest, lake_reads, llm_throughput, overhead, publish, replay, restatement, warehouse
from benchmarks.measurement import UNITS, Measurement, machine, show, side_by_side
from flywheel_pipelines.paths import PROJECT_ROOT


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=PROJECT_ROOT, timeout=120, check=False)


def test_the_command_explains_itself() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert "--archive" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--only", "speed"], "there are lake_reads"), (["--archive", "/no/such"], "is not a file")]
)
def test_what_it_cannot_run_it_refuses_before_it_measures(arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_two_things_take_turns() -> None:
    calls: list[str] = []
    side_by_side(lambda: calls.append("a"), lambda: calls.append("b"), repeats=2)
    assert calls == ["a", "b", "a", "b"]


def test_the_json_names_machine_and_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    show([Measurement("one", "a / b", 1.5)], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["machine"] == machine()
    assert [(row["value"], row["unit"]) for row in printed["measurements"]] == [(1.5, "x")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        lambda: lake_reads.run(reads=3, rows=100, cycles=2, repeats=1),
        lambda: close_cost.run(short=2, long=3, window=2, briefs=4, repeats=1),
        lambda: restatement.run(short=6, long=9, outputs=16, repeats=1),
        lambda: overhead.run(outputs=16, weeks=3, restated_outputs=16, window=2, repeats=1),
        lambda: replay.run(weeks=8),
        lambda: publish.run(cycles=3, outputs=16, repeats=1),
        lambda: warehouse.run(scale=1e-4),
        lambda: llm_throughput.run(requests=20, concurrency=5, bare=5),
        lambda: ingest.run(rows=60_000, outputs=100, repeats=1),
    ],
    ids=[
        "lake_reads",
        "close_cost",
        "restatement",
        "overhead",
        "replay",
        "publish",
        "warehouse",
        "llm_throughput",
        "ingest",
    ],
)
def test_every_benchmark_runs_at_its_smallest(run) -> None:
    measurements = run()
    assert measurements
    for one in measurements:
        assert one.unit in UNITS
        assert one.value >= 0
        assert math.isfinite(one.value)
