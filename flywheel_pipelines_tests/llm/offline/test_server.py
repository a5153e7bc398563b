"""The offline writer over HTTP, through the client that talks to every other endpoint."""

from __future__ import annotations

import base64
import json
import math
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from flywheel_pipelines.llm.offline.answering import MODEL
from flywheel_pipelines.llm.offline.batches import BatchOptions
from flywheel_pipelines.llm.offline.server import OfflineServer, OfflineServerError, shared_server
from flywheel_pipelines_tests.llm.offline.prompts import SEQUENCE, body_of


@pytest.fixture(scope="module")
def server() -> Iterator[OfflineServer]:
    with OfflineServer() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: OfflineServer) -> Iterator[Any]:
    with client_of(server) as found:
        yield found


def client_of(server: OfflineServer) -> Any:
    transport = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, http_client=transport)


def post(server: OfflineServer, body: Any, path: str = "/chat/completions", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with httpx2.Client(trust_env=False) as plain:
        return plain.post(server.base_url + path, content=content, headers=headers)


def test_a_chat_is_answered_by_its_schema(client: Any) -> None:
    answer = client.chat.completions.create(**body_of(schema=SEQUENCE))
    assert answer.model == MODEL
    assert answer.choices[0].finish_reason == "stop"
    assert len(json.loads(answer.choices[0].message.content or "")["messages"]) == 3


def test_tokens_are_counted(client: Any) -> None:
    body = body_of()
    answer = client.chat.completions.create(**body)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == math.ceil(len((answer.choices[0].message.content or "").encode()) / 4)
    assert answer.usage.prompt_tokens > sum(len(message["content"]) for message in body["messages"]) / 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_is_too_long_is_cut_and_says_so(client: Any, name: str) -> None:
    answer = client.chat.completions.create(**body_of(), **{name: 20})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens <= 20
    with pytest.raises(ValueError, match=r"JSON|Unterminated|delimiter|property"):
        json.loads(answer.choices[0].message.content or "")


def test_the_same_request_gives_the_same_bytes(server: OfflineServer) -> None:
    with OfflineServer() as other:
        first = post(server, body_of(seed=4), **{"Idempotency-Key": "a"})
        assert first.content == post(other, body_of(seed=4), **{"Idempotency-Key": "b"}).content
    assert first.status_code == 200


def test_control_another_seed_gives_another_text(server: OfflineServer) -> None:
    assert post(server, body_of(seed=4)).content != post(server, body_of(seed=5)).content


def test_the_answer_does_not_depend_on_the_hash_seed() -> None:
    script = (
        "from flywheel_pipelines.llm.offline.answering import chat_completion\n"
        "from flywheel_pipelines_tests.llm.offline.prompts import body_of, references_with\n"
        "print(chat_completion(body_of(references=references_with(tone='warm'))))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_several_answers_differ(client: Any) -> None:
    answer = client.chat.completions.create(**body_of(), n=3)
    assert len({choice.message.content for choice in answer.choices}) == 3


def test_models_are_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_embeddings_are_unit_vectors_that_tell_texts_apart(client: Any) -> None:
    texts = ["labels for the warehouse", "labels for a warehouse", "quite another matter"]
    # Without this the client asks for base64 and decodes it.
    plain = [one.embedding for one in client.embeddings.create(model=MODEL, input=texts, encoding_format="float").data]
    assert [sum(value * value for value in vector) for vector in plain] == pytest.approx([1.0] * 3)
    alike, apart = (sum(a * b for a, b in zip(plain[0], other, strict=True)) for other in plain[1:])
    assert alike > 0.6 > 0.3 > apart


def test_embeddings_come_as_base64_too(server: OfflineServer) -> None:
    body = {"model": MODEL, "input": "labels", "encoding_format": "base64", "dimensions": 16}
    text = post(server, body, "/embeddings").json()["data"][0]["embedding"]
    assert len(struct.unpack("<16f", base64.b64decode(text))) == 16


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        ({"messages": []}, 400, "model"),
        ({"model": MODEL, "messages": []}, 400, "messages"),
        ({"model": MODEL, "messages": [{"role": "poet", "content": "x"}]}, 400, "messages[0].role"),
        ({**body_of(), "model": "gpt-unheard-of"}, 404, "model"),
        ({**body_of(), "stream": True}, 400, "stream"),
        ({**body_of(), "response_format": {"type": "json_schema"}}, 400, "response_format.json_schema"),
        ({**body_of(), "response_format": {"type": "yaml"}}, 400, "response_format.type"),
        ({**body_of(), "max_tokens": "many"}, 400, "max_completion_tokens"),
        ({**body_of(), "n": 0}, 400, "n"),
    ],
)
def test_errors_have_the_form_of_the_api(server: OfflineServer, body: Any, status: int, parameter: str | None) -> None:
    refused = post(server, body)
    assert refused.status_code == status
    assert refused.json()["error"].keys() == {"message", "type", "param", "code"}
    assert refused.json()["error"]["param"] == parameter


def test_an_unknown_route_is_an_error_of_the_api(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.images.generate(prompt="x")


def test_a_defect_is_an_error_of_the_api(server: OfflineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: Any) -> Any:
        raise KeyError("secret words of a prompt")

    monkeypatch.setattr("flywheel_pipelines.llm.offline.application.chat_completion", broken)
    answered = post(server, body_of())
    assert answered.status_code == 500
    assert "KeyError" in answered.json()["error"]["message"]
    assert "secret" not in answered.text


def test_nothing_is_said_on_the_terminal(server: OfflineServer, capfd: pytest.CaptureFixture[str]) -> None:
    post(server, body_of())
    post(server, b"{")
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_loopback_alone(server: OfflineServer) -> None:
    assert server.host == "127.0.0.1"
    assert server._socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_refused_in_words(server: OfflineServer) -> None:
    with pytest.raises(OfflineServerError, match=f"{server.port}.*choose another"):
        OfflineServer(server.port)


def test_closing_gives_the_port_back() -> None:
    server = OfflineServer()
    server.close()
    server.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_the_shared_server_is_started_once() -> None:
    found: list[OfflineServer] = []
    threads = [threading.Thread(target=lambda: found.append(shared_server())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({server.port for server in found}) == 1
    assert post(found[0], body_of()).status_code == 200


def test_a_process_with_a_shared_server_ends_by_itself() -> None:
    script = "from flywheel_pipelines.llm.offline.server import shared_server; shared_server()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_command_says_where_it_is_and_stops_on_interrupt() -> None:
    script = (
        "from flywheel_pipelines.llm.offline.server import serve\n"
        "serve(port=0, say=lambda words: __import__('builtins').print(words, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        url = next(word for word in greeting.split() if word.startswith("http"))
        with httpx2.Client(trust_env=False) as plain:
            assert plain.get(f"{url}/models").status_code == 200
        process.send_signal(2)
        assert process.wait(timeout=20) == 0
    assert "no language model is involved" in greeting


# -- files and batches ----------------------------------------------------------------------------------------------


def line_of(number: int, **body: Any) -> dict[str, Any]:
    asked = {**body_of(seed=number), **body}
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked}


def start(client: Any, lines: list[Any]) -> Any:
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"cycle": "1"}
    )


def lines_in(client: Any, file_id: str | None) -> list[Any]:
    return [json.loads(line) for line in client.files.content(file_id or "").text.splitlines()] if file_id else []


def test_a_file_comes_back_as_it_was(client: Any) -> None:
    content = b'{"a": "\xc3\xa4"}\r\n--not a boundary\n'
    file = client.files.create(file=("a b.jsonl", content), purpose="batch")
    assert client.files.content(file.id).content == content
    assert (file.filename, file.bytes, file.purpose) == ("a b.jsonl", len(content), "batch")
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_batch_answers_as_the_chat_does(client: Any) -> None:
    batch = start(client, [line_of(1), line_of(2)])
    assert (batch.status, batch.metadata) == ("validating", {"cycle": "1"})
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, done.error_file_id) == ("completed", 2, None)
    answers = {line["custom_id"]: line["response"]["body"] for line in lines_in(client, done.output_file_id)}
    direct = client.chat.completions.create(**body_of(seed=2))
    assert answers["r2"]["choices"][0]["message"]["content"] == direct.choices[0].message.content


def test_a_batch_goes_through_its_states() -> None:
    now = [1_000.0]
    with OfflineServer(batch=BatchOptions(seconds=100, clock=lambda: now[0])) as server, client_of(server) as client:
        batch = start(client, [line_of(1)])
        seen = [batch.status]
        for moment in (1_005.0, 1_050.0, 1_100.0):
            now[0] = moment
            seen.append(client.batches.retrieve(batch.id).status)
        assert seen == ["validating", "validating", "in_progress", "completed"]


def test_requests_that_fail_stand_in_the_error_file() -> None:
    options = BatchOptions(refuses=lambda custom_id: custom_id == "r2")
    with OfflineServer(batch=options) as server, client_of(server) as client:
        done = client.batches.retrieve(start(client, [line_of(n, n=0 if n == 3 else 1) for n in range(1, 5)]).id)
        assert [line["custom_id"] for line in lines_in(client, done.output_file_id)] == ["r1", "r4"]
        errors = {line["custom_id"]: line["response"]["status_code"] for line in lines_in(client, done.error_file_id)}
        assert errors == {"r2": 500, "r3": 400}


def test_an_expired_batch_keeps_what_was_answered() -> None:
    with OfflineServer(batch=BatchOptions(max_answers=1)) as server, client_of(server) as client:
        done = client.batches.retrieve(start(client, [line_of(n) for n in range(3)]).id)
        assert done.status == "expired"
        assert [line["custom_id"] for line in lines_in(client, done.output_file_id)] == ["r0"]
        assert {line["error"]["code"] for line in lines_in(client, done.error_file_id)} == {"batch_expired"}


def test_a_cancelled_batch_stops() -> None:
    now = [0.0]
    with OfflineServer(batch=BatchOptions(seconds=100, clock=lambda: now[0])) as server, client_of(server) as client:
        batch = start(client, [line_of(n) for n in range(4)])
        now[0] = 50.0
        assert client.batches.cancel(batch.id).status == "cancelling"
        done = client.batches.retrieve(batch.id)
        assert (done.status, len(lines_in(client, done.output_file_id))) == ("cancelled", 2)
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["{"], "invalid_json_line"),
        ([line_of(1), line_of(1)], "duplicate_custom_id"),
        ([{**line_of(1), "url": "/v1/embeddings"}], "mismatched_endpoint"),
        ([{"custom_id": "a"}], "missing_required_parameter"),
        ([line_of(1), line_of(2, model="other")], "mismatched_model"),
        ([], "empty_file"),
    ],
)
def test_a_file_that_is_wrong_fails_in_validation(client: Any, lines: list[Any], code: str) -> None:
    done = client.batches.retrieve(start(client, lines).id)
    assert done.status == "failed"
    assert done.errors is not None and done.errors.data is not None
    assert [problem.code for problem in done.errors.data] == [code]


def test_batches_are_listed_page_by_page() -> None:
    with OfflineServer() as server, client_of(server) as client:
        made = [start(client, [line_of(1)]).id for _ in range(5)]
        assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]


def test_what_is_unknown_is_not_found(client: Any) -> None:
    for ask in (client.batches.retrieve, client.batches.cancel, client.files.content):
        with pytest.raises(openai.NotFoundError):
            ask("nothing")
