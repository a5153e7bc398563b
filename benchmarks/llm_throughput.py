"""How busy the client keeps an endpoint: `python -m benchmarks.llm_throughput`.

An endpoint that answers every request after 200 ms is asked 5,000 questions, 50 at a time: 250 a second is all that can
be had. Counted is the whole of `answer_requests`: every try and every answer stored on disk before it goes on, and all
of them landed in the lake at the end. The endpoint runs in a process of its own, and so does the client, whose memory
is looked at after 1,000 answers and after all of them.

Beside it, what the machine lets anyone have at that moment: bare sockets that send the same bytes and parse nothing. A
busy machine keeps them from the ideal, too. And what the openai client alone costs in processor time per request: its
typed method, as its documentation has it, and the plain `post` that `llm.sending` uses.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.measurement import Measurement, run_alone

NAME = "llm throughput"
SERVE, ASK, BARE = "--serve", "--ask", "--bare"
LATENCY = 0.2
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "summary": {"type": "string"}},
    "required": ["title", "summary"],
    "additionalProperties": False,
}
SYSTEM = "You write titles and summaries. " + "A rule that every prompt states at some length. " * 120


def run(requests: int = 5_000, concurrency: int = 50, bare: int = 1_000) -> list[Measurement]:
    """Share of the ideal rate, growth of memory, and processor time per request."""
    found = _child(ASK, requests, concurrency)
    ideal = concurrency / LATENCY
    rate = requests / found["seconds"]
    notes = f"{rate:.0f} of {ideal:.0f} requests/s, {1000 * found['cpu'] / requests:.2f} ms of processor each"
    sockets = requests / _child(BARE, requests, concurrency, "sockets")["seconds"]
    typed, plain = (_child(BARE, bare, concurrency, how)["cpu"] for how in ("typed", "post"))
    return [
        Measurement(NAME, f"{requests:,} requests: rate / ideal rate", rate / ideal, "share", "at least 90%", notes),
        Measurement(NAME, "rate / rate of bare sockets", rate / sockets, "share", "", f"these had {sockets:.0f}/s"),
        Measurement(
            NAME,
            "memory after all answers / after a fifth",
            found["last_mb"] / found["early_mb"],
            "x",
            "flat: at most 1.20",
            f"{found['early_mb']:.0f} MB, then {found['last_mb']:.0f} MB",
        ),
        Measurement(
            NAME,
            "openai client: processor time of post / of chat.completions.create",
            plain / typed,
            "x",
            "",
            f"{1000 * plain / bare:.2f} ms and {1000 * typed / bare:.2f} ms per request",
        ),
    ]


def _child(*arguments: object) -> dict[str, float]:
    """Run this file in a process of its own, against a server in another."""
    with _server() as url:
        command = [sys.executable, "-m", "benchmarks.llm_throughput", *map(str, arguments), url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.llm_throughput", SERVE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Endpoint(asyncio.Protocol):
    """The least that is an endpoint: it counts bytes up to the end of a request and answers LATENCY later."""

    reply = b""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]):
            self.received = b""
            asyncio.get_running_loop().call_later(LATENCY, self._answer)

    def _answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.reply)


async def _serve() -> None:
    content = json.dumps({"title": "A title of the usual length", "summary": "And a summary. " * 20})
    body = json.dumps(
        {
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 1_500, "completion_tokens": 90, "total_tokens": 1_590},
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    _Endpoint.reply = head.encode() + body
    server = await asyncio.get_running_loop().create_server(_Endpoint, "127.0.0.1", 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _ask(n: int, concurrency: int, url: str) -> dict[str, float]:
    """Time, processor time and memory of one whole run."""
    import openai  # noqa: F401

    from flywheel_pipelines.chat import ChatRequest, Message
    from flywheel_pipelines.lake.store import Lake
    from flywheel_pipelines.llm.asking import answer_requests
    from flywheel_pipelines.llm.provider import Provider
    from flywheel_pipelines.llm.settings import AskSettings

    memory: dict[int, float] = {}
    early = max(1, n // 5)

    def watch(done: int, total: int) -> None:
        if done in (early, total):
            memory[done] = _resident_mb()

    # Imports are not what is measured; pyarrow imports pandas, where it is installed, with its first array.
    pa.array(["text"])
    duckdb.sql("select 1").to_arrow_table()
    requests = [
        ChatRequest(
            flywheel="f",
            cycle=date(2026, 1, 5),
            brief_id=f"b{number:06d}",
            arm="flywheel",
            variant=0,
            attempt=1,
            model="m",
            messages=(Message("system", SYSTEM), Message("user", f"Brief {number}. " * 20)),
            schema=SCHEMA,
        )
        for number in range(n)
    ]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        started, cpu = time.perf_counter(), time.process_time()
        report = answer_requests(
            requests,
            lake=Lake(Path(folder) / "lake"),
            journal_folder=Path(folder) / "journal",
            provider=Provider(url, None, "the benchmark's server"),
            settings=AskSettings(concurrency=concurrency),
            now=lambda: datetime.now(UTC),
            on_progress=watch,
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert (len(report.answers), report.n_tries) == (n, n), report.words
    return {"seconds": seconds, "cpu": cpu, "early_mb": memory[early], "last_mb": memory[n]}


async def _bare(n: int, concurrency: int, how: str, url: str) -> dict[str, float]:
    """Processor time of the client alone."""
    if how == "sockets":
        return await _sockets(n, concurrency, url)
    import httpx2
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    slots = asyncio.Semaphore(concurrency)
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Brief. " * 20}]
    body = {"model": "m", "messages": messages, "response_format": form, "seed": 1, "max_completion_tokens": 1_500}

    async def one() -> None:
        async with slots:
            if how == "typed":
                await client.chat.completions.create(**body)  # pyright: ignore[reportArgumentType, reportCallIssue]
            else:
                response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
                json.loads(response.content)

    await asyncio.gather(*(one() for _ in range(concurrency)))
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(n)))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


async def _sockets(n: int, concurrency: int, url: str) -> dict[str, float]:
    """The same without any client: the bytes go out, the bytes come in."""
    body = json.dumps({"messages": [SYSTEM, "Brief. " * 20], "response_format": SCHEMA}).encode()
    sent = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    left = iter(range(n))

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        for _ in left:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


def _resident_mb() -> float:
    """Memory this process holds now."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    if sys.argv[1:2] == [SERVE]:
        asyncio.run(_serve())
    elif sys.argv[1:2] == [ASK]:
        print(json.dumps(_ask(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
    elif sys.argv[1:2] == [BARE]:
        print(json.dumps(asyncio.run(_bare(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]))))
    else:
        run_alone(run, __doc__)
