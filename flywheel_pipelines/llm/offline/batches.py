"""Files and batches of the offline server, kept in memory.

Here: what the OpenAI API calls files and batches, their states, and the faults that tests ask for. Not here: HTTP
(`application`) and the answers (`answering`). A batch is answered when it is looked at after its time; nothing runs in
between, and nothing outlives the server.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flywheel_pipelines.llm.offline.answering import RequestError, chat_completion, embeddings

ENDPOINTS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "/v1/chat/completions": chat_completion,
    "/v1/embeddings": embeddings,
}
MAX_LINES = 50_000
WINDOW = 24 * 60 * 60
ENDED = ("completed", "expired", "failed", "cancelled")


@dataclass(frozen=True)
class BatchOptions:
    """How batches go. The defaults have no faults.

    `seconds` pass from creation to the end; `max_answers` of each batch are answered, then it expires; requests for
    which `refuses` (given the custom_id) is true end in the error file; `rejects` fails every batch in validation.
    """

    seconds: float = 0
    max_answers: int | None = None
    refuses: Callable[[str], bool] | None = None
    rejects: bool = False
    clock: Callable[[], float] = time.time


@dataclass
class _File:
    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass
class _Batch:
    id: str
    endpoint: str
    input_file_id: str
    window: str
    metadata: Mapping[str, str] | None
    created: float
    lines: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    status: str = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    n_completed: int = 0
    n_failed: int = 0
    times: dict[str, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.problems} if self.problems else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created),
            "expires_at": int(self.created) + WINDOW,
            **{f"{name}_at": self.times.get(name) for name in names},
            "request_counts": {"total": len(self.lines), "completed": self.n_completed, "failed": self.n_failed},
            "metadata": self.metadata,
        }


class BatchStore:
    """The files and batches of one server. Safe to use from several threads."""

    def __init__(self, options: BatchOptions | None = None) -> None:
        """Nothing yet."""
        self.options = options or BatchOptions()
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._lock = threading.RLock()

    # -- files ------------------------------------------------------------------------------------------------------
    def add_file(self, name: str, purpose: str, content: bytes) -> dict[str, Any]:
        """Keep a file; returns its description."""
        with self._lock:
            created = int(self.options.clock())
            file = _File(f"file-{uuid.uuid4().hex[:24]}", name, purpose, content, created)
            self._files[file.id] = file
            return file.shown()

    def file(self, file_id: str) -> dict[str, Any]:
        """Describe a file. Raises RequestError (404) when there is none of this id."""
        return self._file(file_id).shown()

    def content(self, file_id: str) -> bytes:
        """What is in a file. Raises RequestError (404) when there is none of this id."""
        return self._file(file_id).content

    def files(self) -> list[dict[str, Any]]:
        """Describe all files, the newest first."""
        with self._lock:
            return [file.shown() for file in reversed(self._files.values())]

    def delete_file(self, file_id: str) -> dict[str, Any]:
        """Forget a file. Raises RequestError (404) when there is none of this id."""
        with self._lock:
            del self._files[self._file(file_id).id]
        return {"id": file_id, "object": "file", "deleted": True}

    def _file(self, file_id: str) -> _File:
        with self._lock:
            if file_id not in self._files:
                raise RequestError(f"No such File object: {file_id}", status=404, parameter="id")
            return self._files[file_id]

    # -- batches ----------------------------------------------------------------------------------------------------
    def create(self, body: Any) -> dict[str, Any]:
        """Take in a batch. Raises RequestError when the body or the file it names cannot be used."""
        if not isinstance(body, Mapping):
            raise RequestError("The body must be a JSON object.")
        endpoint = body.get("endpoint")
        if not isinstance(endpoint, str) or endpoint not in ENDPOINTS:
            raise RequestError(f"'endpoint' must be one of {', '.join(ENDPOINTS)}.", parameter="endpoint")
        if body.get("completion_window") != "24h":
            raise RequestError("'completion_window' must be 24h.", parameter="completion_window")
        file = self._file(str(body.get("input_file_id")))
        lines, problems = _read_lines(file.content, endpoint)
        if self.options.rejects:
            problems = [_problem("rejected", "This server was told to reject batches.", None)]
        with self._lock:
            batch = _Batch(
                id=f"batch_{uuid.uuid4().hex[:24]}",
                endpoint=endpoint,
                input_file_id=file.id,
                window="24h",
                metadata=body.get("metadata"),
                created=self.options.clock(),
                lines=lines,
                problems=problems,
            )
            self._batches[batch.id] = batch
            return batch.shown()

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Describe a batch as it stands now. Raises RequestError (404) when there is none of this id."""
        with self._lock:
            batch = self._batch(batch_id)
            self._advance(batch)
            return batch.shown()

    def batches(self, after: str | None, limit: int) -> dict[str, Any]:
        """A page of batches, the newest first, beginning behind `after`."""
        with self._lock:
            ids = list(reversed(self._batches))
            start = ids.index(after) + 1 if after in ids else 0
            page = ids[start : start + limit]
            for batch_id in page:
                self._advance(self._batches[batch_id])
            return {
                "object": "list",
                "data": [self._batches[batch_id].shown() for batch_id in page],
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
                "has_more": start + limit < len(ids),
            }

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """Stop a batch; what was answered by then is kept. Raises RequestError when it is over or unknown."""
        with self._lock:
            batch = self._batch(batch_id)
            self._advance(batch)
            if batch.status in ENDED:
                raise RequestError(f"Cannot cancel a batch with status '{batch.status}'.", status=409)
            passed = self.options.clock() - batch.created
            done = int(len(batch.lines) * min(1.0, passed / self.options.seconds)) if self.options.seconds else 0
            batch.times["cancelling"] = int(self.options.clock())
            self._answer(batch, done)
            self._end(batch, "cancelled")
            return {**batch.shown(), "status": "cancelling"}

    def _batch(self, batch_id: str) -> _Batch:
        if batch_id not in self._batches:
            raise RequestError(f"No batch found with id '{batch_id}'.", status=404)
        return self._batches[batch_id]

    def _advance(self, batch: _Batch) -> None:
        if batch.status in ENDED:
            return
        if batch.problems:
            self._end(batch, "failed")
            return
        passed, seconds = self.options.clock() - batch.created, self.options.seconds
        if passed >= seconds:
            most = self.options.max_answers
            expires = most is not None and most < len(batch.lines)
            self._answer(batch, most if expires and most is not None else len(batch.lines), expires=expires)
            self._end(batch, "expired" if expires else "completed")
        elif passed >= seconds / 10:
            batch.status = "in_progress"
            batch.times.setdefault("in_progress", int(self.options.clock()))

    def _end(self, batch: _Batch, status: str) -> None:
        batch.status = status
        batch.times[status] = int(self.options.clock())

    def _answer(self, batch: _Batch, n: int, *, expires: bool = False) -> None:
        """Answer the first `n` requests; the others expire, or are left without a word when it was cancelled."""
        answers, errors = [], []
        for number, line in enumerate(batch.lines):
            custom_id = line["custom_id"]
            if number >= n:
                if expires:
                    words = "This request could not be executed before the completion window expired."
                    errors.append(_line(custom_id, None, {"code": "batch_expired", "message": words}))
                continue
            if self.options.refuses and self.options.refuses(custom_id):
                error = {"error": {"message": "The server had an error.", "type": "server_error", "code": None}}
                errors.append(_line(custom_id, (500, error), None))
                continue
            try:
                answers.append(_line(custom_id, (200, ENDPOINTS[batch.endpoint](line["body"])), None))
            except RequestError as refused:
                errors.append(_line(custom_id, (refused.status, refused.body), None))
        batch.n_completed, batch.n_failed = len(answers), len(errors)
        # As the real one does: a file without lines is not made.
        if answers:
            batch.output_file_id = self._output(f"{batch.id}_output.jsonl", answers)
        if errors:
            batch.error_file_id = self._output(f"{batch.id}_error.jsonl", errors)

    def _output(self, name: str, lines: list[dict[str, Any]]) -> str:
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        return self.add_file(name, "batch_output", content)["id"]


def _read_lines(content: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The requests in a file and what is wrong with it, in the API's words."""
    lines: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, text in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError:
            problems.append(_problem("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        custom_id = line.get("custom_id") if isinstance(line, dict) else None
        if not isinstance(custom_id, str) or not isinstance(line.get("body"), dict):
            problems.append(_problem("missing_required_parameter", "A custom_id and a body are required.", number))
        elif custom_id in seen:
            problems.append(_problem("duplicate_custom_id", f"The custom_id '{custom_id}' is not unique.", number))
        elif line.get("url") != endpoint or line.get("method") != "POST":
            problems.append(_problem("mismatched_endpoint", f"Expected a POST to {endpoint}.", number))
        else:
            seen.add(custom_id)
            lines.append(line)
    if not lines and not problems:
        problems.append(_problem("empty_file", "The input file is empty.", None))
    if len(lines) > MAX_LINES:
        problems.append(_problem("too_many_tasks", f"The batch input file contains more than {MAX_LINES} lines.", None))
    if len({line["body"].get("model") for line in lines}) > 1:
        problems.append(_problem("mismatched_model", "All requests of a batch must name the same model.", None))
    return lines, problems


def _problem(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": None}


def _line(custom_id: str, response: tuple[int, Any] | None, error: dict[str, str] | None) -> dict[str, Any]:
    identity = uuid.uuid5(uuid.NAMESPACE_OID, custom_id).hex[:24]
    answered = response and {"status_code": response[0], "request_id": f"req_{identity}", "body": response[1]}
    return {"id": f"batch_req_{identity}", "custom_id": custom_id, "response": answered, "error": error}
