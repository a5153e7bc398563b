"""Running the offline writer: in a thread of this process, or as a command.

Here: binding, starting and stopping. Not here: what it answers (`application`). It listens on loopback unless told
otherwise, writes nothing to the terminal, and knows no key.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from flywheel_pipelines.errors import FlywheelError
from flywheel_pipelines.llm.offline.batches import BatchOptions, BatchStore
from flywheel_pipelines.llm.offline.fine_tuning import FineTuningOptions, FineTuningStore

LOOPBACK = "127.0.0.1"
START_SECONDS = 30


class OfflineServerError(FlywheelError):
    """The offline writer cannot be started."""


class OfflineServer:
    """The offline writer in a daemon thread; runs from the moment it is made until `close`."""

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = LOOPBACK,
        batch: BatchOptions | None = None,
        tuning: FineTuningOptions | None = None,
        latency: float = 0,
    ) -> None:
        """Bind and start.

        Args:
            port: 0 takes a free one.
            host: the address to listen on.
            batch: how batches go.
            tuning: how fine-tuning jobs go.
            latency: seconds that every chat answer waits.

        Raises:
            OfflineServerError: the address cannot be had, or the server does not come up.
        """
        self._socket = _bound(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.store = BatchStore(batch)
        self.jobs = FineTuningStore(self.store, tuning)
        self._server = _uvicorn(self.store, latency, self.jobs)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name=f"offline writer {self.port}", daemon=True
        )
        self._thread.start()
        if not self._server.is_up.wait(START_SECONDS):
            self.close()
            raise OfflineServerError(
                f"The offline writer on {host}:{self.port} did not start within {START_SECONDS} s. Try again; if it "
                "happens again, run `flywheel offline-llm` to see why."
            )

    @property
    def base_url(self) -> str:
        """What `base_url` of an OpenAI client is set to."""
        return f"http://{self.host}:{self.port}/v1"

    def close(self) -> None:
        """Stop and give the port back; closing twice does no harm."""
        self._server.should_exit = True
        self._thread.join(timeout=START_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        """The running server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


_shared_lock = threading.Lock()
_shared: dict[int, OfflineServer] = {}


def shared_server() -> OfflineServer:
    """The one offline writer of this process, started by whoever asks first and closed when the process ends.

    A forked child starts its own: threads do not survive a fork.
    """
    with _shared_lock:
        server = _shared.get(os.getpid())
        if server is None:
            _shared.clear()
            server = _shared[os.getpid()] = OfflineServer()
            atexit.register(server.close)
        return server


def serve(
    host: str = LOOPBACK, port: int = 8_321, *, say: Callable[[str], None], batch: BatchOptions | None = None
) -> None:
    """Run in this thread until interrupted; `say` is given what a person should know once it is up.

    Raises:
        OfflineServerError: the address cannot be had.
    """
    bound = _bound(host, port)
    store = BatchStore(batch)
    server = _uvicorn(store, 0, FineTuningStore(store), lambda: say(_greeting(host, int(bound.getsockname()[1]))))
    try:
        server.run([bound])
    except KeyboardInterrupt:
        pass
    finally:
        bound.close()


def _greeting(host: str, port: int) -> str:
    from flywheel_pipelines.llm.offline.answering import MODEL

    return (
        f"The offline writer answers on http://{host}:{port}/v1 as model {MODEL}. It composes text from a grammar; no "
        f"language model is involved.\nUse it: export OPENAI_BASE_URL=http://{host}:{port}/v1\nStop it: Ctrl-C"
    )


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise OfflineServerError(
            f"Cannot listen on {host}:{port} ({error}). Expected a free port of this machine: choose another, or 0 for "
            "any free one."
        ) from None
    return bound


def _uvicorn(store: BatchStore, latency: float, jobs: FineTuningStore, say: Callable[[], None] = lambda: None) -> Any:
    """A uvicorn server that tells when it is up. Imported here: the command line must not wait for it."""
    import uvicorn

    from flywheel_pipelines.llm.offline.application import application

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            self.is_up = threading.Event()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.is_up.set()
            say()

    config = uvicorn.Config(
        application(store, latency, jobs),
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        backlog=2_048,
        timeout_graceful_shutdown=2,
    )
    return Server(config)
