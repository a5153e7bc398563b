"""Replays of an archive of real headline tests: lift where there are texts to learn from, none where there are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.llm.embedding_local import is_installed
from flywheel_pipelines.momentum.summary import summarise
from flywheel_pipelines.paths import DATA_DIR_VARIABLE, PROJECT_ROOT
from flywheel_pipelines.simulation.evaluation import archive_outcomes
from flywheel_pipelines_tests.shared_data import upworthy_archive
from flywheel_pipelines_tests.simulation.altered_archives import shuffled_texts
from flywheel_pipelines_tests.small_world import SmallWorld, batch_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
needs_the_extra = pytest.mark.skipif(
    not is_installed(), reason="the extra `embeddings` is not installed (make embeddings)"
)
LIFT, LAST_HALF = 0.085, 0.11
"""What the reference with sentence embeddings reached: ridges on words and on MiniLM's vectors, scores added."""


def replay(folder: Path, *options: str) -> dict[str, Any]:
    """What `flywheel replay FILE --json` prints, run as a person would."""
    archive = upworthy_archive()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, str(folder))
        patch.setenv("DAGSTER_HOME", str(folder / "dagster_home"))
        done = subprocess.run(
            [sys.executable, "-m", "flywheel_pipelines.cli", "replay", str(archive), "--json", *options],
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_full_feedback_beats_the_reference_figures(tmp_path: Path) -> None:
    found = replay(tmp_path)
    assert found["lift"] >= 0.065
    assert found["last_half_lift"] >= 0.08
    assert found["hit_rate"] >= 0.33
    assert found["interval"][0] > 0


def test_partial_feedback_has_a_lift_too(tmp_path: Path) -> None:
    found = replay(tmp_path, "--feedback", "partial")
    assert found["interval"][0] > 0


@needs_the_extra
def test_with_embeddings_full_feedback_beats_the_reference_that_has_them(tmp_path: Path) -> None:
    found = replay(tmp_path, "--embeddings", "local")
    assert found["embeddings"] == "local/all-MiniLM-L6-v2"
    assert found["lift"] >= LIFT
    assert found["last_half_lift"] >= LAST_HALF


@needs_the_extra
def test_with_embeddings_partial_feedback_has_at_least_half_of_it(tmp_path: Path) -> None:
    found = replay(tmp_path, "--embeddings", "local", "--feedback", "partial")
    assert found["lift"] >= LIFT / 2
    assert found["last_half_lift"] >= LAST_HALF / 2
    assert found["interval"][0] > 0


def test_control_texts_shuffled_within_their_briefs_have_no_lift(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    plan = world.replay(shuffled_texts(batch_of(upworthy_archive())))
    found = summarise(archive_outcomes(world.lake, plan.spec, plan.archive), better="higher")
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]
