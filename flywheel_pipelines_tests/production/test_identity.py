"""Ids and draws: the same everywhere and for ever, short, and fair."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flywheel_pipelines.production.identity import output_id, uniform

WEEK = date(2026, 1, 5)
texts = st.text(max_size=20)


@given(texts, st.dates(), texts, texts)
def test_ids_fit_a_tracking_tag(flywheel: str, cycle: date, brief: str, key: str) -> None:
    assert re.fullmatch(r"[a-z2-7]{13}", output_id(flywheel, cycle, brief, key))


def test_every_part_of_the_name_makes_another_id() -> None:
    ids = {
        output_id("f", WEEK, "b", "k"),
        output_id("g", WEEK, "b", "k"),
        output_id("f", date(2026, 1, 12), "b", "k"),
        output_id("f", WEEK, "c", "k"),
        output_id("f", WEEK, "b", "l"),
    }
    assert len(ids) == 5


def test_parts_do_not_run_into_each_other() -> None:
    assert output_id("f", WEEK, "ab", "c") != output_id("f", WEEK, "a", "bc")
    assert uniform("ab", "c") != uniform("a", "bc")


def test_control_parts_joined_without_a_separator_would() -> None:
    assert "ab" + "c" == "a" + "bc"


def test_ids_are_pinned_since_the_world_knows_them() -> None:
    """A tag that is out there must find its output after every upgrade."""
    assert output_id("outreach", WEEK, "lead-1", "0") == "h2ma2hno5xuno"
    assert uniform("arm", "outreach", WEEK, "lead-1") == 0.5064950063182863


def test_a_hundred_thousand_ids_are_distinct() -> None:
    assert len({output_id("f", WEEK, f"brief {number}", "0") for number in range(100_000)}) == 100_000


@given(st.lists(texts, max_size=4))
def test_draws_lie_in_the_unit_interval(parts: list[str]) -> None:
    assert 0 <= uniform(*parts) < 1


def test_draws_are_uniform() -> None:
    counts, _ = np.histogram([uniform("arm", number) for number in range(20_000)], bins=20, range=(0, 1))
    chi_square = float(np.sum((counts - 1000) ** 2 / 1000))
    assert chi_square < 43.8, "above the 99.9% point of 19 degrees of freedom"


def test_draws_with_different_purposes_are_unrelated() -> None:
    draws = np.array([[uniform("arm", n), uniform("control", n)] for n in range(5_000)])
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    script = "from flywheel_pipelines.production.identity import uniform; print(repr(uniform('arm', 'f', 1)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == uniform("arm", "f", 1)
