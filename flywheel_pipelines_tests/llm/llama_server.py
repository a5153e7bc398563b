"""llama.cpp's own OpenAI-compatible server, as a process of its own on loopback, with a model that knows nothing.

The model is tiny and randomly initialised, so what it writes is gibberish; the server is not this project's, which is
the point. `make llama-server` builds it; without it, or without the script that makes the model, tests are skipped.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flywheel_pipelines_tests.shared_data import shared_data_dir

PYTHON = Path(__file__).resolve().parents[2] / ".venv-llama" / "bin" / "python"
CONTEXT = 8192
"""Tokens of prompt and answer together. The model's tokens are single bytes."""
STARTS_WITHIN = 120.0
_ASKED = re.compile(r'"POST /v1/chat/completions HTTP/[\d.]+" (\d{3})')


@dataclass(frozen=True)
class LlamaServer:
    """Where it listens, and the log in which it writes down each request that it was asked."""

    base_url: str
    log: Path

    def statuses(self) -> list[int]:
        """The status of every chat completion it was asked for so far, in the order of its answers."""
        return [int(status) for status in _ASKED.findall(self.log.read_text(encoding="utf-8", errors="replace"))]


def make_model(path: Path) -> None:
    """Write the tiny model; skips the test, with the reason, where the server or the script is not there."""
    if not PYTHON.exists():
        pytest.skip(f"llama.cpp's server is not here: no {PYTHON.parent.parent.name} (make llama-server builds it)")
    script = shared_data_dir().parent / "tools" / "make_tiny_gguf.py"
    if not script.exists():
        pytest.skip(f"the script that makes the model is not here: {script}")
    subprocess.run([str(PYTHON), str(script), str(path)], check=True, capture_output=True, timeout=300)


@contextmanager
def llama_server(folder: Path) -> Iterator[LlamaServer]:
    """A server in a folder of its own, stopped at the end."""
    model, log = folder / "tiny.gguf", folder / "server.log"
    make_model(model)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PYTHON), "-m", "llama_cpp.server", "--model", str(model), "--host", "127.0.0.1"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--n_ctx", str(CONTEXT)], stdout=written, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}/v1/models", log)
        yield LlamaServer(f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with opener.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"llama.cpp's server did not answer within {STARTS_WITHIN:.0f} s: {log.read_text(errors='replace')}")
