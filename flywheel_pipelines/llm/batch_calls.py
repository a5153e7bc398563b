"""The provider's Batch API, call by call.

Here: uploading, creating, looking and downloading, with retries where a call may be repeated, and errors in words. Not
here: what is submitted and what is made of the results (`batch`), what is remembered of batches (`batch_records`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import backoff
from flywheel_pipelines.llm.settings import AskSettings

T = TypeVar("T")

ENDPOINT = "/v1/chat/completions"
ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
LOST = "lost"
"""State of a batch that the provider no longer knows."""
TRIES = 4
FILE_SECONDS = 300
"""Seconds that a file may take at least, however short the patience for a single answer."""
WORTH_A_RETRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class BatchError(FlywheelError):
    """The provider's Batch API cannot be used, or refuses a batch."""


@dataclass(frozen=True)
class BatchState:
    """A batch as the provider describes it; `status` is the provider's word, or `lost`.

    `problems` says what was wrong with a batch that failed. `seconds` is what it took, None before it ended.
    """

    provider_batch_id: str
    status: str
    n_requests: int
    n_completed: int = 0
    n_failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    input_file_id: str = ""
    metadata: Mapping[str, str] | None = None
    created_at: float = 0.0
    seconds: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED or self.status == LOST


class BatchCalls:
    """The calls to one provider. Use it as a context manager."""

    def __init__(self, provider: Provider, settings: AskSettings) -> None:
        """Prepare the client; nothing is connected yet."""
        import openai

        self._provider, self._settings, self._openai = provider, settings, openai
        self._client = provider.client(
            is_async=False,
            timeout=max(settings.timeout, FILE_SECONDS),
            http_client=openai.DefaultHttpxClient(trust_env=not provider.is_loopback),
        )

    def __enter__(self) -> Self:
        """The calls themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def upload(self, content: bytes, name: str) -> str:
        """Hand over a file of requests; returns its id. A file that nobody uses costs nothing, so this is retried."""
        return self._call(
            "uploading a batch", lambda: self._client.files.create(file=(name, content), purpose="batch")
        ).id

    def create(self, input_file_id: str, metadata: Mapping[str, str]) -> BatchState:
        """Start a batch. A call whose reply was lost may have started one, so only a plain "not now" is retried."""
        made = self._call(
            "starting a batch",
            lambda: self._client.batches.create(
                input_file_id=input_file_id, endpoint=ENDPOINT, completion_window="24h", metadata=dict(metadata)
            ),
            retried=frozenset({429}),
        )
        return _state(made)

    def state(self, batch_id: str, n_requests: int) -> BatchState:
        """How a batch stands; `lost` when the provider knows of none."""
        try:
            return _state(self._call("looking at a batch", lambda: self._client.batches.retrieve(batch_id)))
        except _NotFoundError:
            return BatchState(batch_id, LOST, n_requests, problems=("The provider no longer knows this batch.",))

    def newest(self, since: float) -> Iterator[BatchState]:
        """The account's batches created at `since` (seconds since 1970) or later, the newest first."""
        after: str | None = None
        while True:
            page = self._call("listing batches", self._page_call(after))
            for found in page.data:
                if found.created_at < since:
                    return
                yield _state(found)
            if not page.data or not page.has_more:
                return
            after = page.data[-1].id

    def _page_call(self, after: str | None) -> Callable[[], Any]:
        return lambda: self._client.batches.list(limit=100, after=self._openai.omit if after is None else after)

    def lines(self, file_id: str) -> list[str]:
        """The lines of a file; none when the provider no longer has it."""
        try:
            content = self._call("downloading results", lambda: self._client.files.content(file_id).content)
        except _NotFoundError:
            return []
        # Not splitlines: JSON may hold other characters that Python takes for the end of a line.
        return [line for line in content.decode(errors="replace").split("\n") if line.strip()]

    def _call(self, what: str, call: Callable[[], T], retried: frozenset[int] = WORTH_A_RETRY) -> T:
        """Call, again after a status of `retried`, and after a lost connection where a 5xx is retried as well."""
        openai, settings = self._openai, self._settings
        for number in range(1, TRIES + 1):
            try:
                return call()
            except openai.NotFoundError as error:
                raise _NotFoundError(self._words(what, error)) from None
            except openai.APIStatusError as error:
                is_final = error.status_code not in retried or error.code == "insufficient_quota"
                if is_final or number == TRIES:
                    raise BatchError(self._words(what, error)) from None
            except openai.APIConnectionError as error:
                if number == TRIES or 500 not in retried:
                    raise BatchError(self._words(what, error.__cause__ or error)) from None
            time.sleep(backoff(what, number, settings.first_wait, settings.max_wait))
        raise AssertionError("unreachable")

    def _words(self, what: str, error: BaseException) -> str:
        said = self._provider.redact(" ".join(f"{error}".split())[:400] or type(error).__name__)
        return (
            f"{self._provider.name}, while {what}: {said} Check that this provider has a Batch API and that "
            "OPENAI_API_KEY may use it, or set producer.requests to live. What was submitted is kept; run again to "
            "go on."
        )


class _NotFoundError(BatchError):
    """There is no such batch or file."""


def _state(found: Any) -> BatchState:
    counts = found.request_counts
    ends = [getattr(found, f"{name}_at", None) for name in ("completed", "expired", "cancelled", "failed")]
    ended_at = next((moment for moment in ends if moment), None)
    problems = (found.errors.data or []) if found.errors else []
    return BatchState(
        provider_batch_id=found.id,
        status=found.status,
        n_requests=counts.total if counts else 0,
        n_completed=counts.completed if counts else 0,
        n_failed=counts.failed if counts else 0,
        output_file_id=found.output_file_id,
        error_file_id=found.error_file_id,
        input_file_id=found.input_file_id,
        metadata=found.metadata,
        created_at=found.created_at,
        seconds=max(0.0, ended_at - found.created_at) if ended_at else None,
        problems=tuple(f"{one.message} ({one.code}, line {one.line})" for one in problems),
    )
