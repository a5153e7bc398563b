"""Fine-tuning jobs through the API: a training set handed over, a job started once, and how it stands.

Here: uploading, starting, looking, and the ledger `finetune_jobs`. Not here: making the files (`loop/training.py`),
their format (`training_files`), and using the model (the YAML's `producer.model`).

Starting a job is what costs money, so it is done once. Uploads are recorded before a job is started on them; before one
is started the provider's list is searched for a job on the same file, or of the same name: a run that was killed after
starting a job and before recording it has left one there. A call whose reply was lost is not repeated, for the same
reason: the next run looks first.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import pyarrow as pa

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.lake.store import Lake, content_hash
from flywheel_pipelines.lake.tables import FINETUNE_JOBS
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import backoff
from flywheel_pipelines.llm.training_files import Kind, check_file

T = TypeVar("T")
Method = Literal["supervised", "dpo"]
METHODS: dict[Method, Kind] = {"supervised": "sft", "dpo": "preference"}
UPLOADED, CREATED = "uploaded", "created"
ENDED = frozenset({"succeeded", "failed", "cancelled"})
WORTH_A_RETRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
TRIES, FIRST_WAIT, MAX_WAIT, TIMEOUT = 4, 0.5, 30.0, 300.0
"""Tries of a call, seconds before the first and before any retry, seconds that a call may take."""
CLOCK_DRIFT = 3_600
"""Seconds by which the provider's clock may lag behind ours when its list is searched."""


class FineTuningError(FlywheelError):
    """A job cannot be started, or not be looked at."""


@dataclass(frozen=True)
class TrainingFiles:
    """What a job learns from: a training file of `cycle` and, unless it is empty, a validation file."""

    flywheel: str
    cycle: date
    training: Path
    validation: Path | None = None


@dataclass(frozen=True)
class Job:
    """A job as the ledger has it; `event` is the last one recorded."""

    submission: str
    event: str
    set_cycle: date
    provider: str
    method: str
    base_model: str
    attempt: int
    n_examples: int
    training_hash: str
    validation_hash: str | None
    training_file_id: str
    validation_file_id: str | None
    job_id: str | None = None
    tuned_model: str | None = None
    error: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.event in ENDED


@dataclass(frozen=True)
class Submitted:
    """What a submission came to. `how`: started, found (an earlier run had started it) or known (it was recorded)."""

    job: Job
    how: Literal["started", "found", "known"]


def submit_job(
    files: TrainingFiles,
    *,
    method: Method,
    base_model: str,
    provider: Provider,
    lake: Lake,
    lock: Path,
    now: Callable[[], datetime],
    suffix: str | None = None,
    again: bool = False,
) -> Submitted:
    """Start the job that the files, the method and the model call for, unless it was started before.

    Args:
        files: the set; checked before anything is sent.
        method: supervised takes a file of kind sft, dpo one of preferences.
        base_model: the model to tune, as the provider knows it.
        provider: where to.
        lake: holds `finetune_jobs`.
        lock: a file that keeps two runs from starting the same job.
        now: the clock; it dates rows.
        suffix: part of the tuned model's name, at most 64 characters.
        again: start another job where the same one has ended; one that is under way is never doubled.

    Raises:
        FineTuningError: a file breaks its format, another run is at work, or the provider refuses or is out of reach.
    """
    contents = _checked(files, METHODS[method])
    hashes = [hashlib.sha256(content).hexdigest() if content is not None else None for content in contents]
    what = ("finetune", provider.dialect_name, method, base_model, suffix or "", *(one or "" for one in hashes))
    with _alone(lock), _Calls(provider) as calls:
        known = {job.submission: job for job in known_jobs(lake, files.flywheel)}
        attempt, submission = 1, content_hash(*what, 1)
        while again and submission in known and known[submission].is_ended:
            attempt, submission = attempt + 1, content_hash(*what, attempt + 1)
        job = known.get(submission)
        if job is not None and job.job_id is not None:
            return Submitted(job, "known")
        if job is None:
            ids = [
                None
                if content is None
                else calls.upload(content, f"{files.flywheel}-{files.cycle}-{submission}-{name}.jsonl")
                for content, name in zip(contents, ("train", "validation"), strict=True)
            ]
            assert ids[0] is not None and contents[0] is not None and hashes[0] is not None
            job = Job(
                submission=submission,
                event=UPLOADED,
                set_cycle=files.cycle,
                provider=provider.name,
                method=method,
                base_model=base_model,
                attempt=attempt,
                n_examples=contents[0].count(b"\n"),
                training_hash=hashes[0],
                validation_hash=hashes[1],
                training_file_id=ids[0],
                validation_file_id=ids[1],
            )
            _record(lake, files.flywheel, job, now())
        uploaded_at = _uploaded_at(lake, files.flywheel, submission)
        found = calls.find(job, uploaded_at - CLOCK_DRIFT)
        made = found or calls.create(job, suffix, files.flywheel)
        job = replace(job, event=CREATED, job_id=made.id)
        _record(lake, files.flywheel, job, now())
    return Submitted(job, "found" if found else "started")


def look_at_jobs(lake: Lake, flywheel: str, provider: Provider, now: Callable[[], datetime]) -> list[Job]:
    """Every job of a flywheel, the oldest first; those under way at this provider are asked for and recorded.

    Raises:
        FineTuningError: the provider refuses, or cannot be reached.
    """
    jobs = known_jobs(lake, flywheel)
    if not any(_is_asked(job, provider) for job in jobs):
        return jobs
    with _Calls(provider) as calls:
        return [_looked_at(job, calls, lake, flywheel, now) if _is_asked(job, provider) else job for job in jobs]


def known_jobs(lake: Lake, flywheel: str) -> list[Job]:
    """Every job of a flywheel by the ledger alone, the oldest first, each with its last event."""
    rows = lake.read(FINETUNE_JOBS, flywheel).to_pylist()
    rows.sort(key=lambda row: (row["recorded_at"], _stage(row["event"]), row["batch_id"]))
    latest: dict[str, Job] = {}
    for row in rows:
        latest[row["submission"]] = Job(**{name: row[name] for name in Job.__dataclass_fields__})
    return list(latest.values())


def _stage(event: str) -> int:
    """Where an event stands among others of the same instant."""
    return {UPLOADED: 0, CREATED: 1}.get(event, 3 if event in ENDED else 2)


def _is_asked(job: Job, provider: Provider) -> bool:
    return job.job_id is not None and not job.is_ended and job.provider == provider.name


def _looked_at(job: Job, calls: _Calls, lake: Lake, flywheel: str, now: Callable[[], datetime]) -> Job:
    assert job.job_id is not None
    found = calls.job(job.job_id)
    error = found.error.message if found.error is not None and found.error.message else None
    seen = replace(job, event=found.status, tuned_model=found.fine_tuned_model, error=error)
    if seen != job:
        _record(lake, flywheel, seen, now())
    return seen


def _checked(files: TrainingFiles, kind: Kind) -> tuple[bytes | None, bytes | None]:
    """The files' bytes. A validation file without a line is left out: providers refuse empty files."""
    training = _read(files.training)
    validation = _read(files.validation) if files.validation is not None else b""
    for path, content, fewest in ((files.training, training, {}), (files.validation, validation, {"min_examples": 1})):
        findings = check_file(content, kind, **fewest) if path is files.training or content else []
        if findings:
            more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
            raise FineTuningError(
                f"{path}: {findings[0]}{more}. Nothing was sent. See all: flywheel training validate {path}"
            )
    return training, validation or None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FineTuningError(
            f"{path}: cannot be read ({error.strerror}). Run `flywheel training export` first."
        ) from None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FineTuningError(f"{lock}: another run is submitting a job. Wait for it, then look: status.") from None
        yield


def _uploaded_at(lake: Lake, flywheel: str, submission: str) -> float:
    rows = lake.read(FINETUNE_JOBS, flywheel, columns=["submission", "event", "recorded_at"]).to_pylist()
    return min(row["recorded_at"].timestamp() for row in rows if row["submission"] == submission)


def _record(lake: Lake, flywheel: str, job: Job, at: datetime) -> None:
    """Append what became of a job; the same twice is once."""
    batch_id = content_hash("finetune_jobs", job.submission, job.event, job.tuned_model or "", job.error or "")
    row = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    row |= {"batch_id": batch_id, "recorded_at": at, "source_row": 1}
    header = {"batch_id": batch_id, "source": "fine-tuning job", "recorded_at": at, "n_rows": 1, "n_quarantined": 0}
    header |= {"first_cycle": None, "last_cycle": None}
    rows = pa.Table.from_pylist([row], schema=FINETUNE_JOBS.schema)
    lake.append_batch(flywheel, header, {FINETUNE_JOBS: rows})


class _Calls:
    """The calls to one provider."""

    def __init__(self, provider: Provider) -> None:
        import openai

        self._provider, self._openai = provider, openai
        self._client = provider.client(
            is_async=False,
            timeout=TIMEOUT,
            http_client=openai.DefaultHttpxClient(trust_env=not provider.is_loopback),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def upload(self, content: bytes, name: str) -> str:
        """Hand over a file; returns its id. A file that nobody uses costs nothing, so this is retried."""
        return self._call(
            "uploading a training file", lambda: self._client.files.create(file=(name, content), purpose="fine-tune")
        ).id

    def create(self, job: Job, suffix: str | None, flywheel: str) -> Any:
        """Start a job. A call whose reply was lost may have started one, so only a plain "not now" is retried."""
        settings: dict[str, Any] = {
            "model": job.base_model,
            "training_file": job.training_file_id,
            "method": {"type": job.method},
            "metadata": {"flywheel": flywheel, "cycle": job.set_cycle.isoformat(), "submission": job.submission},
        }
        if job.validation_file_id is not None:
            settings["validation_file"] = job.validation_file_id
        if suffix is not None:
            settings["suffix"] = suffix
        return self._call(
            "starting a fine-tuning job",
            lambda: self._client.fine_tuning.jobs.create(**settings),
            retried=frozenset({429}),
        )

    def find(self, job: Job, since: float) -> Any | None:
        """The provider's job on the same file or of the same submission; None when it never got one."""
        after: str | None = None
        while True:
            page = self._call("listing fine-tuning jobs", self._page_call(after))
            for found in page.data:
                if found.created_at < since:
                    return None
                named = (found.metadata or {}).get("submission")
                if found.training_file == job.training_file_id or named == job.submission:
                    return found
            if not page.data or not page.has_more:
                return None
            after = page.data[-1].id

    def job(self, job_id: str) -> Any:
        """A job as it stands now."""
        return self._call("looking at a fine-tuning job", lambda: self._client.fine_tuning.jobs.retrieve(job_id))

    def _page_call(self, after: str | None) -> Callable[[], Any]:
        omitted = self._openai.omit if after is None else after
        return lambda: self._client.fine_tuning.jobs.list(limit=100, after=omitted)

    def _call(self, what: str, call: Callable[[], T], retried: frozenset[int] = WORTH_A_RETRY) -> T:
        """Call, again after a status of `retried`, and after a lost connection where a 5xx is retried as well."""
        openai = self._openai
        for number in range(1, TRIES + 1):
            try:
                return call()
            except openai.APIStatusError as error:
                is_final = error.status_code not in retried or error.code == "insufficient_quota"
                if is_final or number == TRIES:
                    raise FineTuningError(self._words(what, error)) from None
            except openai.APIConnectionError as error:
                if number == TRIES or 500 not in retried:
                    raise FineTuningError(self._words(what, error.__cause__ or error)) from None
            time.sleep(backoff(what, number, FIRST_WAIT, MAX_WAIT))
        raise AssertionError("unreachable")

    def _words(self, what: str, error: BaseException) -> str:
        said = self._provider.redact(re.sub(r"\s+", " ", f"{error}")[:400] or type(error).__name__)
        return (
            f"{self._provider.name}, while {what}: {said} Check that this provider can tune the model and that "
            "OPENAI_API_KEY may. Run the same command again to go on: it looks whether the job was started first."
        )
