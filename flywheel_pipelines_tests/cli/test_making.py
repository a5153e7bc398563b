"""`flywheel init` and what surrounds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from flywheel_pipelines.cli import making
from flywheel_pipelines.paths import PROJECT_ROOT
from flywheel_pipelines.spec import LlmProducer, load_spec
from flywheel_pipelines_tests.cli.runner import Run


# -- making flywheels ------------------------------------------------------------------------------------------------
@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(making, "DEFS_DIR", tmp_path / "defs")
    return tmp_path / "defs"


def test_init_writes_a_yaml_that_loads(run: Run, defs: Path) -> None:
    assert run("init", "product_descriptions").code == 0
    spec = load_spec(defs / "product_descriptions" / "defs.yaml")
    assert spec.name == "product_descriptions"
    assert spec.start == date.today() - timedelta(days=date.today().weekday())


def test_the_model_that_init_offers_in_comments_loads_when_it_is_taken(run: Run, defs: Path) -> None:
    run("init", "product_descriptions")
    path = defs / "product_descriptions" / "defs.yaml"
    archive, model = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        is_offered = re.match(r"  # (briefs:|producer:|feeds:|  )", line)
        (model if is_offered else archive).append(line.replace("# ", "", 1) if is_offered else line)
    assert len(model) == 11
    kept = [line for line in archive if not line.startswith(("  briefs:", "  producer:"))]
    path.write_text("\n".join([*kept, *model]) + "\n", encoding="utf-8")
    spec = load_spec(path)
    assert isinstance(spec.producer, LlmProducer)
    assert {feed.kind for feed in spec.feeds.values()} == {"briefs", "metrics"}


def test_init_never_overwrites(run: Run, defs: Path) -> None:
    run("init", "news")
    (defs / "news" / "defs.yaml").write_text("mine")
    ran = run("init", "news")
    assert ran.code == 2
    assert "exists already" in ran.said
    assert (defs / "news" / "defs.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["News", "two words", "../escape", "a/b", "1st", "", "ü"])
def test_init_refuses_a_name_that_no_flywheel_can_have(run: Run, defs: Path, name: str) -> None:
    ran = run("init", name)
    assert ran.code == 2
    assert "lower-case letters" in ran.said
    assert not defs.exists()


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("flywheel-pipelines 0.")


def test_an_unknown_command_is_refused(run: Run) -> None:
    assert run("fly").code == 2


def test_looking_does_not_wait_for_dagster() -> None:
    """`status` and `sql` answer at once; importing Dagster takes seconds."""
    script = (
        "import sys; import flywheel_pipelines.cli, flywheel_pipelines.overview, flywheel_pipelines.published, "
        "flywheel_pipelines.starter, flywheel_pipelines.terminal; "
        "print([name for name in sys.modules if name.startswith(('dagster', 'sklearn', 'dbt'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_dg_scaffolds_a_flywheel_in_a_copy_of_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    left_out = shutil.ignore_patterns(
        ".venv", ".git", "data", "target", "logs", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(PROJECT_ROOT, project, ignore=left_out, symlinks=True)
    dg = str(Path(sys.executable).with_name("dg"))
    environment = {**os.environ, "PYTHONPATH": str(project)}
    component = "flywheel_pipelines.components.FlywheelComponent"
    done = subprocess.run(
        [dg, "scaffold", "defs", component, "newsletter"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_spec(project / "flywheel_pipelines" / "defs" / "newsletter" / "defs.yaml").name == "newsletter"
    checked = subprocess.run([dg, "check", "yaml"], cwd=project, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
