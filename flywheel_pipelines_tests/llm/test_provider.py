"""The key stays out of every text, and the environment alone names the provider."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flywheel_pipelines.llm.batch_calls import BatchCalls
from flywheel_pipelines.llm.provider import Provider, ProviderError, provider_from_environment, redact
from flywheel_pipelines.llm.settings import AskSettings
from flywheel_pipelines_tests.llm.asking_samples import KEY as ASKED_WITH
from flywheel_pipelines_tests.llm.asking_samples import ask, requests
from flywheel_pipelines_tests.llm.faulty_server import completion

KEY = "sk-proj-abcdef123456"


def test_no_text_of_a_provider_shows_its_key() -> None:
    provider = Provider("https://example.test/v1", KEY, "example")
    assert KEY not in f"{provider!r} {provider} {vars(provider)}"


def test_a_key_of_any_shape_is_removed() -> None:
    assert "hunter22" not in Provider(None, "hunter22", "x").redact("wrong key hunter22!")


@pytest.mark.parametrize(
    "text", [f"key {KEY} is wrong", "Authorization: Bearer abc.def-ghi", "https://me:secret@host/v1", "api-key: secret"]
)
def test_what_looks_like_a_secret_is_removed(text: str) -> None:
    assert not {"abcdef", "abc.def", "secret"} & {
        part for part in ("abcdef", "abc.def", "secret") if part in redact(text)
    }


def test_other_words_stay() -> None:
    text = "The desk-top model risk-free costs 3 at https://host/v1"
    assert redact(text) == text


def test_nothing_set_is_no_provider() -> None:
    assert provider_from_environment({"OPENAI_API_KEY": " "}) is None


def test_a_key_alone_is_openai() -> None:
    found = provider_from_environment({"OPENAI_API_KEY": KEY})
    assert found is not None
    assert (found.url, found.key_text()) == ("https://api.openai.com/v1", KEY)


def test_a_local_server_needs_no_key() -> None:
    found = provider_from_environment({"OPENAI_BASE_URL": "http://localhost:11434/v1/"})
    assert found is not None
    assert (found.url, found.is_loopback, found.name) == ("http://localhost:11434/v1", True, "localhost:11434")


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(ProviderError, match="expected an address") as raised:
        provider_from_environment({"OPENAI_BASE_URL": "ftp://me:secret@host"})
    assert "secret" not in str(raised.value)


# -- what is sent to an address --------------------------------------------------------------------------------------
Arrived = list[tuple[str, dict[str, str]]]


@contextmanager
def recorder() -> Iterator[tuple[str, Arrived]]:
    """An endpoint that answers everything, and keeps path and headers (by lower-case name) of what arrived."""
    arrived: Arrived = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            arrived.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.rfile.read(int(self.headers.get("content-length", "0")))
            # A completion to whoever asks for one, an empty page to whoever lists.
            body = completion('{"title": "T"}') | {"data": [], "has_more": False}
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", arrived
        server.shutdown()


def test_what_stands_behind_an_address_goes_with_every_request_and_azures_key_in_its_own_header(tmp_path: Path) -> None:
    with recorder() as (host, arrived):
        url, version = f"{host}/openai/deployments/mine", "api-version=2024-10-21"
        address = f"{url}/?{version}&tenant=hidden"
        assert len(ask(tmp_path, address, requests(2)).answers) == 2
        with BatchCalls(Provider(address, ASKED_WITH, "azure"), AskSettings()) as calls:
            assert list(calls.newest(0)) == []
    paths = [path for path, _ in arrived]
    assert [path.split("?")[0] for path in paths] == [
        *["/openai/deployments/mine/chat/completions"] * 2,
        "/openai/deployments/mine/batches",
    ]
    assert all({version, "tenant=hidden"} <= set(path.split("?")[1].split("&")) for path in paths)
    assert [(headers.get("api-key"), headers.get("authorization")) for _, headers in arrived] == [
        (ASKED_WITH, None)
    ] * 3
    assert list(json.loads((tmp_path / "journal" / "endpoints.json").read_text())) == [f"{url}?{version} m"]


def test_without_a_deployment_in_the_address_it_is_the_one_of_the_models_name(tmp_path: Path) -> None:
    with recorder() as (host, arrived):
        assert len(ask(tmp_path, f"{host}/openai?api-version=2024-10-21", requests(1)).answers) == 1
    assert [path for path, _ in arrived] == ["/openai/deployments/m/chat/completions?api-version=2024-10-21"]


def test_control_any_other_address_gets_the_key_as_a_bearer_token(tmp_path: Path) -> None:
    with recorder() as (host, arrived):
        assert len(ask(tmp_path, f"{host}/openai/v1/", requests(1)).answers) == 1
    ((path, headers),) = arrived
    assert path == "/openai/v1/chat/completions"
    assert (headers.get("api-key"), headers["authorization"]) == (None, f"Bearer {ASKED_WITH}")
