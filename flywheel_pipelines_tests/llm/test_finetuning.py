"""Fine-tuning jobs, over real HTTP at the offline server: started once, whatever happens in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flywheel_pipelines.lake.store import Lake
from flywheel_pipelines.lake.tables import FINETUNE_JOBS
from flywheel_pipelines.llm import finetuning
from flywheel_pipelines.llm.finetuning import (
    FineTuningError,
    Job,
    Submitted,
    TrainingFiles,
    known_jobs,
    look_at_jobs,
    submit_job,
)
from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.fine_tuning import FineTuningOptions
from flywheel_pipelines.llm.offline.server import OfflineServer
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines_tests.llm.test_training_files import PREFERENCE, SFT, file_of

NAME, CYCLE = "letters", date(2026, 1, 5)
KEY = "sk-test-recognisable-4711"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@dataclass
class Tuning:
    """A lake, files to learn from, and an offline server as the provider."""

    root: Path
    server: OfflineServer

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "lake")

    @property
    def provider(self) -> Provider:
        return Provider(self.server.base_url, KEY, "a test")

    def files(self, training: bytes | None = None, validation: bytes | None = None) -> TrainingFiles:
        path, other = self.root / "sft.train.jsonl", self.root / "sft.validation.jsonl"
        path.write_bytes(file_of(*[SFT] * 10) if training is None else training)
        if validation is not None:
            other.write_bytes(validation)
        return TrainingFiles(NAME, CYCLE, path, other if validation is not None else None)

    def submit(self, files: TrainingFiles | None = None, **options: Any) -> Submitted:
        known: dict[str, Any] = {"method": "supervised", "base_model": MODEL, "suffix": "rota"}
        return submit_job(
            files or self.files(),
            provider=self.provider,
            lake=self.lake,
            lock=self.root / ".submitting",
            now=lambda: datetime.now(UTC),
            **{**known, **options},
        )

    def look(self) -> list[Job]:
        return look_at_jobs(self.lake, NAME, self.provider, lambda: datetime.now(UTC))

    @property
    def jobs_there(self) -> list[dict[str, Any]]:
        return self.server.jobs.jobs(None, 100)["data"]

    @property
    def events(self) -> list[str]:
        rows = self.lake.read(FINETUNE_JOBS, NAME).to_pylist()
        return [row["event"] for row in sorted(rows, key=lambda row: row["recorded_at"])]


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Tuning]:
    with OfflineServer() as server:
        yield Tuning(tmp_path, server)


def test_a_job_is_started_and_its_model_named_once_it_is_there(tuning: Tuning) -> None:
    submitted = tuning.submit()
    assert submitted.how == "started"
    [job] = tuning.look()
    assert (job.event, job.error) == ("succeeded", None)
    assert job.tuned_model is not None
    assert job.tuned_model.startswith(f"ft:{MODEL}:offline:rota:")
    assert tuning.events == ["uploaded", "created", "succeeded"]


def test_a_job_of_preferences_carries_the_method_and_both_files(tuning: Tuning) -> None:
    files = tuning.files(file_of(*[PREFERENCE] * 10), file_of(PREFERENCE))
    tuning.submit(files, method="dpo")
    [job] = tuning.jobs_there
    assert job["method"] == {"type": "dpo"}
    assert tuning.server.store.content(job["validation_file"]) == file_of(PREFERENCE)
    assert (job["status"], job["metadata"]["cycle"]) == ("succeeded", "2026-01-05")


def test_an_empty_validation_file_is_left_out(tuning: Tuning) -> None:
    tuning.submit(tuning.files(validation=b""))
    assert tuning.jobs_there[0]["validation_file"] is None


def test_the_same_is_not_started_twice(tuning: Tuning) -> None:
    first, second = tuning.submit(), tuning.submit()
    assert (second.how, second.job.job_id) == ("known", first.job.job_id)
    assert len(tuning.jobs_there) == 1


def test_other_files_another_method_or_suffix_is_another_job(tuning: Tuning) -> None:
    tuning.submit()
    tuning.submit(tuning.files(file_of(*[SFT] * 11)))
    tuning.submit(tuning.files(file_of(*[PREFERENCE] * 10)), method="dpo")
    tuning.submit(suffix="other")
    assert len(tuning.jobs_there) == 4


@pytest.mark.parametrize("when", ["uploaded", "created"])
def test_a_run_that_is_killed_before_it_records_a_step_never_pays_twice(
    tuning: Tuning, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    record = finetuning._record

    def kill(lake: Lake, flywheel: str, job: Job, at: datetime) -> None:
        if job.event == when:
            raise Killed
        record(lake, flywheel, job, at)

    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "_record", kill)
        with pytest.raises(Killed):
            tuning.submit()
    assert tuning.submit().how == ("found" if when == "created" else "started")
    assert len(tuning.jobs_there) == 1


def test_a_run_that_is_killed_between_upload_and_start_uploads_no_second_time(
    tuning: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(finetuning._Calls, "create", kill)
        with pytest.raises(Killed):
            tuning.submit()
    assert tuning.submit().how == "started"
    assert (len(tuning.jobs_there), len(tuning.server.store.files())) == (1, 1)


def test_a_job_is_found_by_its_file_where_a_provider_keeps_no_metadata(
    tuning: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, started = tuning.server.jobs.create, []

    def forgetful(body: dict[str, Any]) -> dict[str, Any]:
        started.append(create({**body, "metadata": None}))
        raise RuntimeError("the reply is lost")

    monkeypatch.setattr(tuning.server.jobs, "create", forgetful)
    with pytest.raises(FineTuningError, match="it looks whether the job was started"):
        tuning.submit()
    submitted = tuning.submit()
    assert (submitted.how, submitted.job.job_id) == ("found", started[0]["id"])
    assert len(started) == 1


def test_control_a_job_on_another_file_is_not_taken_for_ours(tuning: Tuning) -> None:
    tuning.submit()
    other = tuning.submit(tuning.files(file_of(*[SFT] * 12)))
    assert other.how == "started"


def test_a_job_that_failed_is_started_again_only_when_asked(tmp_path: Path) -> None:
    with OfflineServer(tuning=FineTuningOptions(fails=True)) as server:
        tuning = Tuning(tmp_path, server)
        tuning.submit()
        [job] = tuning.look()
        assert (job.event, job.error) == ("failed", "This server was told to fail jobs.")
        assert tuning.submit().how == "known"
        assert len(tuning.jobs_there) == 1
        again = tuning.submit(again=True)
        assert (again.how, again.job.attempt, len(tuning.jobs_there)) == ("started", 2, 2)


def test_a_job_that_is_under_way_is_never_doubled(tmp_path: Path) -> None:
    with OfflineServer(tuning=FineTuningOptions(seconds=3_600)) as server:
        tuning = Tuning(tmp_path, server)
        tuning.submit()
        assert [job.event for job in tuning.look()] == ["running"]
        assert [job.event for job in tuning.look()] == ["running"]
        assert tuning.submit(again=True).how == "known"
        assert tuning.events == ["uploaded", "created", "running"]


def test_a_file_that_breaks_its_format_is_not_sent(tuning: Tuning) -> None:
    with pytest.raises(FineTuningError, match=r"9 examples.*Nothing was sent"):
        tuning.submit(tuning.files(file_of(*[SFT] * 9)))
    assert tuning.server.store.files() == []
    assert known_jobs(tuning.lake, NAME) == []


def test_two_runs_do_not_submit_at_once(tuning: Tuning) -> None:
    with finetuning._alone(tuning.root / ".submitting"), pytest.raises(FineTuningError, match="another run"):
        tuning.submit()


def test_a_refusal_is_told_without_the_key(tuning: Tuning) -> None:
    with pytest.raises(FineTuningError, match="is not available for fine-tuning") as caught:
        tuning.submit(base_model=f"model {KEY}")
    assert KEY not in str(caught.value)


# -- the offline server as the provider ------------------------------------------------------------------------------
def client(server: OfflineServer) -> Any:
    import openai

    return openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0)


def test_the_server_refuses_a_file_of_another_purpose(tuning: Tuning) -> None:
    import openai

    api = client(tuning.server)
    file = api.files.create(file=("x.jsonl", file_of(*[SFT] * 10)), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="purpose fine-tune"):
        api.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    with pytest.raises(openai.NotFoundError):
        api.fine_tuning.jobs.create(model=MODEL, training_file="file-unknown")


@pytest.mark.parametrize("rows", [[SFT] * 9, [SFT] * 10 + [{"messages": []}], [PREFERENCE] * 10])
def test_the_server_fails_a_job_whose_file_breaks_the_format(tuning: Tuning, rows: list[Any]) -> None:
    api = client(tuning.server)
    file = api.files.create(file=("x.jsonl", file_of(*rows)), purpose="fine-tune")
    made = api.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    assert made.status == "validating_files"
    job = api.fine_tuning.jobs.retrieve(made.id)
    assert (job.status, job.fine_tuned_model) == ("failed", None)
    assert job.error.code == "invalid_training_file"
    assert any("invalid training file" in event.message for event in api.fine_tuning.jobs.list_events(made.id).data)


def test_the_server_lists_jobs_in_pages_the_newest_first_and_stops_them(tmp_path: Path) -> None:
    with OfflineServer(tuning=FineTuningOptions(seconds=3_600)) as server:
        api = client(server)
        file = api.files.create(file=("x.jsonl", file_of(*[SFT] * 10)), purpose="fine-tune")
        ids = [api.fine_tuning.jobs.create(model=MODEL, training_file=file.id).id for _ in range(5)]
        assert [job.id for job in api.fine_tuning.jobs.list(limit=2)] == ids[::-1]
        assert api.fine_tuning.jobs.cancel(ids[0]).status == "cancelled"
        assert json.loads(api.fine_tuning.jobs.retrieve(ids[0]).to_json())["status"] == "cancelled"
