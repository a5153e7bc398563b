"""One try: a body goes out, a reply comes back.

Here: the only place that uses the openai client. Not here: what replies mean (`replies`), when to try again (`asking`).

The client is used below its typed methods, with `post`: that keeps its addresses, headers, connections and errors, and
spares building a pydantic model of every request and completion. With 50 requests under way that takes a third off the
processor time per request, which decides how busy one core can keep an endpoint.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import Reply

PATH = "/chat/completions"
LONGEST_TEXT = 2_000


class NotSent(Exception):
    """The request was made and then not sent: the run is ending."""


@dataclass
class _Departure:
    """One request on its way out. Its time starts when it has a slot."""

    limit: asyncio.Timeout
    started: float = 0.0
    has_slot: bool = False


class Sender:
    """Sends bodies to one provider, so many at a time. Use it as an async context manager.

    A slot is taken when a request is ready to go out, not before: while it is being made the endpoint
    would have one request less to work on.
    """

    def __init__(
        self,
        provider: Provider,
        concurrency: int,
        timeout: float,
        may_send: Callable[[], bool] = lambda: True,
        *,
        path: str = PATH,
    ) -> None:
        """Prepare the client; nothing is connected yet. `may_send` is asked once more when a slot is free."""
        import httpx2
        import openai

        self._provider, self._timeout, self._may_send, self._path = provider, timeout, may_send, path
        self._openai, self._response_type = openai, httpx2.Response
        self._slots = asyncio.Semaphore(concurrency)
        self._departure: ContextVar[_Departure] = ContextVar("departure")
        self._clients = provider.clients(concurrency, self._depart)
        self._busy = [0] * len(self._clients)

    async def __aenter__(self) -> Sender:
        """The sender itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        for client in self._clients:
            await client.close()

    async def send(self, body: Mapping[str, Any], idempotency_key: str) -> Reply:
        """Send one body and wait for the whole reply, at most `timeout` seconds in all; bad replies do not raise.

        Raises:
            NotSent: it may not be sent any more.
        """
        openai = self._openai
        # Not the client's timeout: it starts anew with every byte, so that a slow drip would never end.
        departure = _Departure(asyncio.timeout(None))
        self._departure.set(departure)
        chosen = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[chosen] += 1
        try:
            async with departure.limit:
                response = await self._clients[chosen].post(
                    self._path,
                    body=body,
                    cast_to=self._response_type,
                    options={"headers": {"Idempotency-Key": idempotency_key}},
                )
            seconds = _since(departure.started)
            return Reply(response.status_code, _parsed(response.content), response.headers, seconds=seconds)
        except (TimeoutError, openai.APITimeoutError):
            return Reply(None, trouble="timeout", seconds=_since(departure.started))
        except openai.APIStatusError as error:
            text = self._provider.redact(error.response.text[:LONGEST_TEXT])
            return Reply(error.status_code, _parsed(text), error.response.headers, seconds=_since(departure.started))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            detail = self._provider.redact(f"{type(cause).__name__} {cause}".strip())
            return Reply(None, trouble="connection", detail=detail, seconds=_since(departure.started))
        finally:
            self._busy[chosen] -= 1
            if departure.has_slot:
                self._slots.release()

    async def _depart(self, _: object) -> None:
        """Wait for a slot; called by the client with the request made and not yet sent."""
        departure = self._departure.get()
        if departure.has_slot:
            # A redirect is the same request.
            return
        await self._slots.acquire()
        departure.has_slot = True
        if not self._may_send():
            raise NotSent
        departure.started = time.perf_counter()
        departure.limit.reschedule(asyncio.get_running_loop().time() + self._timeout)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 6)


def _parsed(content: bytes | str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content if isinstance(content, str) else content[:LONGEST_TEXT].decode(errors="replace")
