"""SIGKILL at any moment loses no answer and pays for none twice; without durability it does both."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flywheel_pipelines_tests.llm.asking_process import CONCURRENCY
from flywheel_pipelines_tests.llm.asking_samples import Account, account, arrivals, requests, server
from flywheel_pipelines_tests.llm.faulty_server import FAULTS, QUOTA

READY = CONCURRENCY + CONCURRENCY // 2
"""Most tries that are written down and not yet answered."""


def start(folder: Path, url: str, n: int, how: str, settings: dict[str, float]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flywheel_pipelines_tests.llm.asking_process", str(folder), url]
    return subprocess.Popen([*command, str(n), how, json.dumps(settings)], stdout=subprocess.PIPE, text=True)


def kill_and_finish(folder: Path, url: str, n: int, kills: int, how: str, longest: float, **settings: float) -> int:
    """Kill the process so many times while it asks, then let it finish; returns the kills that met it asking."""
    moments = random.Random(7)
    n_killed = 0
    for _ in range(kills):
        process = start(folder, url, n, how, settings)
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        time.sleep(moments.uniform(0, longest))
        n_killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    process = start(folder, url, n, how, settings)
    said, _ = process.communicate(timeout=2_200)
    assert said.endswith("done\n"), said
    return n_killed


def check(found: Account, n: int, kills: int) -> None:
    assert found.answered == Counter({request.key: 1 for request in requests(n)})
    found.check_counts()
    assert found.interrupted.total() <= kills * READY


def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    with server(tmp_path, latency=0.05) as url:
        n_killed = kill_and_finish(tmp_path, url, 400, kills=2, how="durable", longest=0.2)
    assert n_killed == 2
    check(account(tmp_path), 400, kills=2)


def test_control_without_durability_two_kills_pay_twice(tmp_path: Path) -> None:
    with server(tmp_path, latency=0.05) as url:
        kill_and_finish(tmp_path, url, 400, kills=2, how="careless", longest=0.2)
    with pytest.raises(AssertionError):
        account(tmp_path).check_counts()


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_through_every_fault_and_twenty_kills_two_thousand_requests_are_answered_once(tmp_path: Path) -> None:
    """Nine faults of ten percent each, one of which ends a run: about one try in ten is answered.

    A used-up quota is met some 1,900 times, and as often the next run is started at once. Tries that hang do not hold
    up the end of a run for long.
    """
    with server(tmp_path, "every_fault") as url:
        n_killed = kill_and_finish(tmp_path, url, 2_000, kills=20, how="durable", longest=1.0, grace=0.3, timeout=5.0)
    found = account(tmp_path)
    assert n_killed == 20
    assert found.answered == Counter({request.key: 1 for request in requests(2_000)})
    found.check_counts()
    met = Counter(fault for _, _, fault in arrivals(tmp_path))
    assert met.keys() == {*FAULTS, QUOTA, "none"}
    assert min(met.values()) > 0.07 * met.total()


@pytest.mark.slow
def test_control_without_durability_the_same_kills_pay_twice(tmp_path: Path) -> None:
    with server(tmp_path, "faults") as url:
        kill_and_finish(tmp_path, url, 500, kills=5, how="careless", longest=1.0)
    with pytest.raises(AssertionError):
        account(tmp_path).check_counts()
