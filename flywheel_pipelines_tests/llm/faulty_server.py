"""An OpenAI-compatible endpoint that misbehaves on purpose, as a process of its own on loopback.

`python -m flywheel_pipelines_tests.llm.faulty_server FOLDER MODE [LATENCY]` prints its port. Every request that arrived
whole is appended to FOLDER/arrived.log before it is answered, so the count survives whatever happens to the client. A
line is: idempotency key, form, fault.

Modes:
    clean: answers, after LATENCY seconds.
    faults: of every 100 requests, ten each meet one of FAULTS and twenty are answered.
    every_fault: the same with `insufficient_quota` for ten of those twenty, which stops a run.
    quick_faults: faults without those that are sat out, so that no try ends before it has arrived.
    one of FAULTS: that one, for ever.
    later: a 429 that asks to wait an hour.
    busy, crowded: to the first try of each request a 429, which asks to wait a second, or does not ask.
    one_wrong: an answer of another schema to the brief `Brief 3`, whatever is tried.
    quota: answers 20 requests, then says `insufficient_quota` for ever.
    no_json_schema, rejects_json_schema: a 500, or a 400, to `json_schema`; answers the other forms.
    old: knows `max_tokens` only, and no `seed`.
    key, broken_temperature: 401, and a 400 that names the temperature.

Which fault a request meets depends on its idempotency key and on how often that key arrived, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FAULTS = (
    "retry_after",
    "rate_limited",
    "server_error",
    "hang",
    "reset",
    "slow_drip",
    "truncated_json",
    "wrong_schema",
)
SAT_OUT = ("hang", "slow_drip")
QUOTA = "insufficient_quota"
WAITS: dict[str, dict[str, str]] = {
    "retry_after": {"retry-after-ms": "20"},
    "rate_limited": {},
    "busy": {"retry-after": "1"},
    "crowded": {},
}
LOG = "arrived.log"
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10


class FaultyServer:
    """Counts, then answers or does not."""

    def __init__(self, folder: Path, mode: str, latency: float) -> None:
        self.mode, self.latency = mode, latency
        self.arrivals: Counter[str] = Counter()
        self.log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def fault_of(self, key: str) -> str:
        if self.mode in FAULTS:
            return self.mode
        if self.mode in ("busy", "crowded") and not self.arrivals[key]:
            return self.mode
        if self.mode not in ("faults", "every_fault", "quick_faults"):
            return ""
        drawn = int(hashlib.sha256(f"{key}:{self.arrivals[key]}".encode()).hexdigest(), 16) % 10
        met = (*FAULTS, QUOTA) if self.mode == "every_fault" else FAULTS
        fault = met[drawn] if drawn < len(met) else ""
        return "" if self.mode == "quick_faults" and fault in SAT_OUT else fault

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_request(reader):
                headers, body = request
                if not await self.answer(reader, writer, headers, json.loads(body)):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str], body: dict[str, Any]
    ) -> bool:
        """Returns whether the connection may be used again."""
        key = headers.get("idempotency-key", "")
        fault = self.fault_of(key)
        self.arrivals[key] += 1
        form = body.get("response_format", {}).get("type", "prompt")
        # One write of one line: not lost when the client is killed, not mixed with another.
        os.write(self.log, f"{key} {form} {fault or 'none'}\n".encode())
        status, reply = self.refusal(body, form)
        if status:
            await send(writer, status, error(reply, self.mode, body))
            return True
        if fault == "hang":
            # Until the client has had enough.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 30)
            return False
        if fault == "reset":
            writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            writer.transport.abort()
            return False
        if self.mode == "later":
            await send(writer, 429, error("rate_limit_exceeded", "Too fast.", body), {"retry-after": "3600"})
            return True
        if self.mode == "one_wrong" and body["messages"][-1]["content"] == "Brief 3":
            fault = "wrong_schema"
        if fault == QUOTA:
            await send(writer, 429, error(QUOTA, "You exceeded your current quota.", body))
            return True
        if fault in WAITS:
            await send(writer, 429, error("rate_limit_exceeded", "Too fast.", body), WAITS[fault])
            return True
        if fault == "server_error":
            await send(writer, 500, error("server_error", "Something broke.", body))
            return True
        await asyncio.sleep(self.latency)
        await send(writer, 200, completion(answer_text(body, fault)), drip=fault == "slow_drip")
        return True

    def refusal(self, body: dict[str, Any], form: str) -> tuple[int, str]:
        if self.mode == "quota" and sum(self.arrivals.values()) > 20:
            return 429, QUOTA
        if self.mode == "no_json_schema" and form == "json_schema":
            return 500, "internal_error"
        if self.mode == "rejects_json_schema" and form == "json_schema":
            return 400, "response_format"
        if self.mode == "old":
            for name in ("max_completion_tokens", "seed"):
                if name in body:
                    return 400, name
        if self.mode == "key":
            return 401, "invalid_api_key"
        if self.mode == "broken_temperature":
            return 400, "temperature"
        return 0, ""


def answer_text(body: dict[str, Any], fault: str) -> str:
    text = json.dumps({"title": f"Answer {body.get('seed', 0)}"})
    if fault == "truncated_json":
        return text[: len(text) // 2]
    return json.dumps({"headline": 7}) if fault == "wrong_schema" else text


def completion(text: str) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        },
    }


def error(code: str, message: str, body: dict[str, Any]) -> dict[str, Any]:
    named = code if code in body else None
    words = f"Unsupported parameter: {code} ({message}); you sent Bearer sk-secret-of-the-test"
    return {"error": {"message": words, "type": code, "param": named, "code": code}}


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes] | None:
    """One HTTP/1.1 request with a content-length; None when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def send(
    writer: asyncio.StreamWriter,
    status: int,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    *,
    drip: bool = False,
) -> None:
    content = json.dumps(body).encode()
    shown = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in shown.items()) + "\r\n"
    if not drip:
        writer.write(head.encode() + content)
        await writer.drain()
        return
    writer.write(head.encode())
    # Each byte comes in time, the whole never does: a timeout per read would wait 30 seconds.
    for byte in content[:300]:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def main(folder: str, mode: str, latency: str = "0") -> None:
    """Serve until killed."""
    faulty = FaultyServer(Path(folder), mode, float(latency))
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0, backlog=1_000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
