"""Fine-tuning jobs of the offline server, kept in memory.

Here: what the OpenAI API calls a fine-tuning job, its states and events. Not here: files (`batches`), HTTP
(`application`) and the format of files (`llm/training_files.py`). Nothing is trained: a job reads its files as the
provider would, refuses what is wrong with them, and after its time names a model that does not exist. A job moves when
it is looked at.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flywheel_pipelines.llm.offline.answering import MODEL, RequestError
from flywheel_pipelines.llm.offline.batches import BatchStore
from flywheel_pipelines.llm.training_files import Kind, check_file

METHODS: Mapping[str, Kind] = {"supervised": "sft", "dpo": "preference"}
ENDED = ("succeeded", "failed", "cancelled")
MAX_SUFFIX, MAX_METADATA = 64, 16


@dataclass(frozen=True)
class FineTuningOptions:
    """How jobs go. `seconds` pass from creation to the end; `fails` ends every job in failure."""

    seconds: float = 0
    fails: bool = False
    clock: Callable[[], float] = time.time


@dataclass
class _Job:
    id: str
    model: str
    method: dict[str, Any]
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    metadata: Mapping[str, str] | None
    created: float
    status: str = "validating_files"
    finished: int | None = None
    error: dict[str, Any] | None = None
    tuned_model: str | None = None
    trained_tokens: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "created_at": int(self.created),
            "error": self.error,
            "fine_tuned_model": self.tuned_model,
            "finished_at": self.finished,
            "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
            "model": self.model,
            "organization_id": "org-offline",
            "result_files": [],
            "seed": self.seed,
            "status": self.status,
            "trained_tokens": self.trained_tokens,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "estimated_finish": None,
            "integrations": [],
            "metadata": self.metadata,
            "method": self.method,
            "user_provided_suffix": self.suffix,
        }


class FineTuningStore:
    """The jobs of one server, over its files. Safe to use from several threads."""

    def __init__(self, files: BatchStore, options: FineTuningOptions | None = None) -> None:
        """Nothing yet."""
        self.options = options or FineTuningOptions()
        self._files = files
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.RLock()

    def create(self, body: Any) -> dict[str, Any]:
        """Take in a job. Raises RequestError when the body, or a file that it names, cannot be used."""
        if not isinstance(body, Mapping):
            raise RequestError("The body must be a JSON object.")
        if body.get("model") != MODEL:
            raise RequestError(f"Model {body.get('model')!r} is not available for fine-tuning.", parameter="model")
        method = body.get("method") or {"type": "supervised"}
        if not isinstance(method, Mapping) or method.get("type") not in METHODS:
            raise RequestError(f"'method.type' must be one of {', '.join(METHODS)}.", parameter="method")
        training = self._tunable(body.get("training_file"), "training_file")
        validation = body.get("validation_file")
        if validation is not None:
            validation = self._tunable(validation, "validation_file")
        suffix, metadata = body.get("suffix"), body.get("metadata")
        if suffix is not None and (not isinstance(suffix, str) or not 1 <= len(suffix) <= MAX_SUFFIX):
            raise RequestError(f"'suffix' must have 1 to {MAX_SUFFIX} characters.", parameter="suffix")
        if metadata is not None and (not isinstance(metadata, Mapping) or len(metadata) > MAX_METADATA):
            raise RequestError(f"'metadata' must have at most {MAX_METADATA} keys.", parameter="metadata")
        with self._lock:
            job = _Job(
                id=f"ftjob-{uuid.uuid4().hex[:24]}",
                model=MODEL,
                method=dict(method),
                training_file=training,
                validation_file=validation,
                suffix=suffix,
                seed=body.get("seed") or 0,
                metadata=metadata,
                created=self.options.clock(),
            )
            self._say(job, f"Created fine-tuning job: {job.id}")
            self._jobs[job.id] = job
            return job.shown()

    def job(self, job_id: str) -> dict[str, Any]:
        """Describe a job as it stands now. Raises RequestError (404) when there is none of this id."""
        with self._lock:
            job = self._job(job_id)
            self._advance(job)
            return job.shown()

    def jobs(self, after: str | None, limit: int) -> dict[str, Any]:
        """A page of jobs, the newest first, beginning behind `after`."""
        with self._lock:
            ids = list(reversed(self._jobs))
            start = ids.index(after) + 1 if after in ids else 0
            page = ids[start : start + limit]
            data = [self.job(job_id) for job_id in page]
            return {"object": "list", "data": data, "has_more": start + limit < len(ids)}

    def events(self, job_id: str) -> dict[str, Any]:
        """The events of a job, the newest first. Raises RequestError (404) when there is none of this id."""
        with self._lock:
            job = self._job(job_id)
            self._advance(job)
            return {"object": "list", "data": list(reversed(job.events)), "has_more": False}

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop a job. Raises RequestError when it is over or unknown."""
        with self._lock:
            job = self._job(job_id)
            self._advance(job)
            if job.status in ENDED:
                raise RequestError(f"Job has already completed: {job.status}.", status=400)
            self._end(job, "cancelled", "The job has been cancelled")
            return job.shown()

    def _tunable(self, file_id: Any, field_name: str) -> str:
        if not isinstance(file_id, str):
            raise RequestError(f"'{field_name}' is required.", parameter=field_name)
        if self._files.file(file_id)["purpose"] != "fine-tune":
            raise RequestError(f"File '{file_id}' must be uploaded with purpose fine-tune.", parameter=field_name)
        return file_id

    def _job(self, job_id: str) -> _Job:
        if job_id not in self._jobs:
            raise RequestError(f"Could not find fine tune: {job_id}", status=404, parameter="fine_tune_id")
        return self._jobs[job_id]

    def _advance(self, job: _Job) -> None:
        if job.status in ENDED:
            return
        if job.status == "validating_files" and not self._is_valid(job):
            return
        if self.options.clock() < job.created + self.options.seconds:
            if job.status != "running":
                job.status = "running"
                self._say(job, "Fine-tuning job started")
        elif self.options.fails:
            job.error = {"code": "server_error", "message": "This server was told to fail jobs.", "param": None}
            self._end(job, "failed", job.error["message"], level="error")
        else:
            job.tuned_model = f"ft:{MODEL}:offline:{job.suffix or ''}:{job.id[-8:]}"
            job.trained_tokens = len(self._files.content(job.training_file)) // 4
            self._say(job, f"New fine-tuned model created: {job.tuned_model}")
            self._end(job, "succeeded", "The job has successfully completed")

    def _is_valid(self, job: _Job) -> bool:
        for field_name, file_id in (("training_file", job.training_file), ("validation_file", job.validation_file)):
            if file_id is None:
                continue
            fewest = {} if field_name == "training_file" else {"min_examples": 1}
            findings = check_file(self._files.content(file_id), METHODS[job.method["type"]], **fewest)
            if findings:
                words = f"The job failed due to an invalid {field_name.replace('_', ' ')}. {findings[0]}"
                code = f"invalid_{field_name}"
                job.error = {"code": code, "message": words, "param": field_name}
                self._end(job, "failed", words, level="error")
                return False
        self._say(job, "Files validated, moving job to queued state")
        job.status = "queued"
        return True

    def _end(self, job: _Job, status: str, words: str, level: str = "info") -> None:
        job.status, job.finished = status, int(self.options.clock())
        self._say(job, words, level)

    def _say(self, job: _Job, words: str, level: str = "info") -> None:
        job.events.append(
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{uuid.uuid4().hex[:24]}",
                "created_at": int(self.options.clock()),
                "level": level,
                "message": words,
                "type": "message",
                "data": None,
            }
        )
