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
from collections.abc import Mapping
from typing import Any

from flywheel_pipelines.llm.provider import Provider
from flywheel_pipelines.llm.replies import Reply

PATH = "/chat/completions"
LONGEST_TEXT = 2_000


class Sender:
    """Sends bodies to one provider. Use it as an async context manager."""

    def __init__(self, provider: Provider, concurrency: int, timeout: float) -> None:
        """Prepare the client; nothing is connected yet."""
        import httpx2
        import openai

        self._provider, self._timeout = provider, timeout
        self._openai, self._response_type = openai, httpx2.Response
        self._clients = provider.clients(concurrency)
        self._busy = [0] * len(self._clients)

    async def __aenter__(self) -> Sender:
        """The sender itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        for client in self._clients:
            await client.close()

    async def send(self, body: Mapping[str, Any], idempotency_key: str) -> Reply:
        """Send one body and wait for the whole reply, at most `timeout` seconds in all; bad replies do not raise."""
        started = time.perf_counter()
        openai = self._openai
        chosen = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[chosen] += 1
        try:
            # Not the client's timeout: it starts anew with every byte, so that a slow drip would never end.
            async with asyncio.timeout(self._timeout):
                response = await self._clients[chosen].post(
                    PATH,
                    body=body,
                    cast_to=self._response_type,
                    options={"headers": {"Idempotency-Key": idempotency_key}},
                )
            return Reply(response.status_code, _parsed(response.content), response.headers, seconds=_since(started))
        except (TimeoutError, openai.APITimeoutError):
            return Reply(None, trouble="timeout", seconds=_since(started))
        except openai.APIStatusError as error:
            body_text = self._provider.redact(error.response.text[:LONGEST_TEXT])
            return Reply(error.status_code, _parsed(body_text), error.response.headers, seconds=_since(started))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            detail = self._provider.redact(f"{type(cause).__name__} {cause}".strip())
            return Reply(None, trouble="connection", detail=detail, seconds=_since(started))
        finally:
            self._busy[chosen] -= 1


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 6)


def _parsed(content: bytes | str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content if isinstance(content, str) else content[:LONGEST_TEXT].decode(errors="replace")
