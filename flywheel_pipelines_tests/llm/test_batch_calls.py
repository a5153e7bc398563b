"""Calls to a Batch API that is busy, broken or out of reach: what is repeated, and what never is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flywheel_pipelines.llm.batch_calls import TRIES, BatchCalls, BatchError
from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.settings import AskSettings

KEY = "sk-secret-of-the-test"
BATCH = {
    "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "f",
    "completion_window": "24h", "status": "validating", "created_at": 1,
}  # fmt: skip
FILE = {"id": "f", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch", "status": "ok"}


@contextmanager
def scripted(*replies: tuple[int, Any]) -> Iterator[tuple[BatchCalls, list[str]]]:
    """A server that gives these replies in turn (status 0 breaks the connection) and notes what was called."""
    left, seen = list(replies), []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            seen.append(f"{self.command} {self.path}")
            status, body = left.pop(0)
            self.close_connection = True
            if not status:
                return
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = reply

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        provider = Provider(f"http://127.0.0.1:{server.server_address[1]}/v1", KEY, "the provider")
        with BatchCalls(provider, AskSettings(first_wait=0.001, max_wait=0.002)) as calls:
            yield calls, seen
    finally:
        server.shutdown()
        server.server_close()


def refusal(status: int, code: str | None = None) -> tuple[int, Any]:
    return status, {"error": {"message": f"no, {KEY}", "type": "x", "param": None, "code": code}}


@pytest.mark.parametrize("trouble", [(500, {}), (429, {}), (503, {}), (0, None)])
def test_what_may_be_repeated_is(trouble: tuple[int, Any]) -> None:
    with scripted(trouble, trouble, (200, FILE)) as (calls, seen):
        assert calls.upload(b"{}", "x.jsonl") == "f"
        assert seen == ["POST /v1/files"] * 3


@pytest.mark.parametrize("trouble", [(500, {}), (0, None)])
def test_a_start_that_may_have_worked_is_not_repeated(trouble: tuple[int, Any]) -> None:
    with scripted(trouble, (200, BATCH)) as (calls, seen):
        with pytest.raises(BatchError, match="while starting a batch"):
            calls.create("f", {})
        assert len(seen) == 1


def test_a_start_that_was_put_off_is_repeated() -> None:
    with scripted(refusal(429), (200, BATCH)) as (calls, _):
        assert calls.create("f", {}).provider_batch_id == "batch_1"


@pytest.mark.parametrize("trouble", [refusal(401), refusal(429, "insufficient_quota"), refusal(400)])
def test_what_will_not_get_better_is_not_repeated(trouble: tuple[int, Any]) -> None:
    with scripted(trouble, trouble) as (calls, seen):
        with pytest.raises(BatchError, match=r"set producer\.requests to live") as caught:
            calls.upload(b"{}", "x.jsonl")
        assert len(seen) == 1
    assert KEY not in str(caught.value)


def test_patience_ends() -> None:
    with scripted(*[refusal(500)] * TRIES) as (calls, seen):
        with pytest.raises(BatchError):
            calls.lines("f")
        assert len(seen) == TRIES


def test_a_file_that_is_gone_has_no_lines() -> None:
    with scripted(refusal(404)) as (calls, _):
        assert calls.lines("f") == []


def test_a_search_of_the_list_ends_at_its_date() -> None:
    page = {"object": "list", "data": [{**BATCH, "id": f"b{at}", "created_at": at} for at in (9, 5, 2)]}
    with scripted((200, {**page, "has_more": True})) as (calls, seen):
        assert [state.provider_batch_id for state in calls.newest(5)] == ["b9", "b5"]
        assert len(seen) == 1


def test_a_provider_that_tells_little_is_understood() -> None:
    """Counts, metadata and times are optional; not every server gives them."""
    with scripted((200, {**BATCH, "status": "completed"})) as (calls, _):
        state = calls.state("batch_1", 3)
    assert (state.is_ended, state.n_requests, state.seconds, state.metadata) == (True, 0, None, None)
