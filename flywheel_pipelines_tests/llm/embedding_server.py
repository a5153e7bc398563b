"""An embeddings endpoint that misbehaves as told, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flywheel_pipelines.llm.provider import Provider

KEY = "sk-secret-of-the-test"
Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Endpoint:
    """`answer` says what becomes of a request, given its body and its number, from 1; `arrived` holds the bodies."""

    answer: Callable[[dict[str, Any], int], Answer]
    url: str = ""
    arrived: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def provider(self) -> Provider:
        return Provider(self.url, KEY, "the test's server")


def vectors(body: dict[str, Any], number: int = 1, size: int = 3) -> Answer:
    """A good answer: a vector that tells how long each text is, in another order than was asked for."""
    data = [
        {"index": index, "embedding": [float(len(text))] + [1.0] * (size - 1), "object": "embedding"}
        for index, text in enumerate(body["input"])
    ]
    return 200, {"data": data[::-1], "usage": {"prompt_tokens": 10, "total_tokens": 10}}, {}


def error(status: int, message: str, code: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"error": {"message": f"{message}; you sent Bearer {KEY}", "code": code, "type": code}}, named


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Answer] = vectors) -> Iterator[Endpoint]:
    endpoint = Endpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/embeddings"
            with endpoint.lock:
                endpoint.arrived.append(body)
                number = len(endpoint.arrived)
            status, reply, headers = endpoint.answer(body, number)
            content = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
