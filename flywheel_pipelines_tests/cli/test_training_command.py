"""`flywheel training`: from a closed cycle to a model's name, at the offline server as the provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from flywheel_pipelines.cli import shared
from flywheel_pipelines.lake import tables
from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines_tests.cli.runner import Run
from flywheel_pipelines_tests.llm.test_training_files import SFT, file_of
from flywheel_pipelines_tests.written_world import NAME, WEEKS, WrittenWorld

CYCLE = WEEKS[2]


@pytest.fixture
def world(played: WrittenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenWorld]:
    """Three closed cycles in which every output was promoted, so that there are more than ten examples."""
    made = played.copy_to(tmp_path / "world")
    made.configure(training_sets={"near_duplicate": 1.0, "personal_data": "mask"})
    for cycle in WEEKS[:3]:
        scored = made.lake.read(tables.SCORED_OUTPUTS, NAME, cycle, columns=tables.SCORED_OUTPUTS.columns)
        proven = [{**row, "decision": "promote", "is_mature": True} for row in scored.to_pylist()]
        table = pa.Table.from_pylist(proven, schema=tables.SCORED_OUTPUTS.schema)
        made.lake.write(tables.SCORED_OUTPUTS, table, flywheel=NAME, cycle=cycle)
    monkeypatch.setattr(shared, "DEFS_DIR", made.root / "defs")
    with made.in_force():
        yield made


@pytest.fixture
def server(world: WrittenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[OfflineServer]:
    with OfflineServer() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


SUBMIT = ("training", "submit", "--flywheel", NAME, "--method", "supervised", "--model", MODEL)


def test_from_export_to_the_name_of_a_model(world: WrittenWorld, server: OfflineServer, run: Run) -> None:
    exported = run("training", "export", "--flywheel", NAME, "--json").json
    assert exported["cycle"] == str(CYCLE)
    file = Path(exported["folder"]) / "sft.train.jsonl"
    assert exported["lines"]["sft.train.jsonl"] >= 10
    assert "valid." in run("training", "validate", file).out
    assert "started" in run(*SUBMIT, "--yes").said
    assert "was started before; nothing was sent" in run(*SUBMIT, "--yes").said
    assert f"model: 'ft:{MODEL}:offline" in run("training", "status", "--flywheel", NAME).said
    assert len(server.jobs.jobs(None, 100)["data"]) == 1


def test_nothing_is_sent_unless_someone_says_yes(world: WrittenWorld, server: OfflineServer, run: Run) -> None:
    run("training", "export", "--flywheel", NAME)
    assert run(*SUBMIT).code != 0
    assert server.store.files() == []


def test_without_an_export_submit_says_what_to_run(world: WrittenWorld, server: OfflineServer, run: Run) -> None:
    ran = run(*SUBMIT, "--yes")
    assert ran.code == 2
    assert f"flywheel training export --flywheel {NAME} --cycle {CYCLE}" in ran.said


def test_without_a_provider_submit_says_how_to_name_one(world: WrittenWorld, run: Run) -> None:
    ran = run(*SUBMIT, "--yes")
    assert ran.code == 2
    assert "OPENAI_BASE_URL" in ran.said


def test_validate_names_row_and_field_and_ends_in_failure(run: Run, tmp_path: Path) -> None:
    broken = json.loads(json.dumps(SFT))
    broken["messages"][1]["role"] = "human"
    path = tmp_path / "x.jsonl"
    path.write_bytes(file_of(*[SFT] * 9, broken))
    ran = run("training", "validate", path)
    assert ran.code == 1
    assert 'row 10, messages.1.role: found "human"; expected one of system' in ran.said
    assert run("training", "validate", path, "--json").json["findings"][0]["row"] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate", "absent.jsonl"), "cannot be read"),
        (("validate", "absent.jsonl", "--kind", "both"), "cannot be read"),
        (("export", "--flywheel", "nobody"), "found 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_told(arguments: tuple[str, ...], words: str, world: WrittenWorld, run: Run) -> None:
    ran = run("training", *arguments)
    assert (ran.code, words in ran.said) == (2, True)
