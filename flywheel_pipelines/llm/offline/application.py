"""The offline writer over HTTP: the routes of the OpenAI API that the client uses.

Here: routes, reading bodies, and errors in the API's form. Not here: the answers (`answering`), files and batches
(`batches`), fine-tuning jobs (`fine_tuning`), and running it (`server`).
"""

from __future__ import annotations

import asyncio
import json
from email.parser import BytesHeaderParser
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flywheel_pipelines.llm.offline.answering import CREATED, MODEL, RequestError, chat_completion, embeddings
from flywheel_pipelines.llm.offline.batches import BatchStore
from flywheel_pipelines.llm.offline.fine_tuning import FineTuningStore


def application(store: BatchStore, latency: float = 0, tuning: FineTuningStore | None = None) -> Starlette:
    """The routes over one store of files and batches and its jobs; every chat answer waits `latency` seconds."""
    jobs = tuning or FineTuningStore(store)
    return Starlette(
        routes=[*_answering(latency), *_files(store), *_batches(store), *_fine_tuning(jobs)],
        exception_handlers={RequestError: _refused, HTTPException: _no_route, Exception: _broken},
    )


def _answering(latency: float) -> list[Route]:
    async def chat(request: Request) -> Response:
        answer = chat_completion(await _body(request))
        if latency:
            await asyncio.sleep(latency)
        return _json(answer)

    async def embed(request: Request) -> Response:
        return _json(embeddings(await _body(request)))

    async def models(request: Request) -> Response:
        return _json({"object": "list", "data": [_model()]})

    async def model(request: Request) -> Response:
        if request.path_params["model"] != MODEL:
            raise RequestError(f"The model '{request.path_params['model']}' does not exist.", status=404)
        return _json(_model())

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/embeddings", embed, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", model, methods=["GET"]),
    ]


def _files(store: BatchStore) -> list[Route]:
    async def upload(request: Request) -> Response:
        name, fields = _multipart(await request.body(), request.headers.get("content-type", ""))
        if "file" not in fields:
            raise RequestError("'file' is required.", parameter="file")
        purpose = fields.get("purpose", b"").decode(errors="replace")
        return _json(store.add_file(name, purpose, fields["file"]))

    async def files(request: Request) -> Response:
        return _json({"object": "list", "data": store.files(), "has_more": False})

    async def file(request: Request) -> Response:
        found = request.path_params["id"]
        return _json(store.delete_file(found) if request.method == "DELETE" else store.file(found))

    async def content(request: Request) -> Response:
        return Response(store.content(request.path_params["id"]), media_type="application/octet-stream")

    return [
        Route("/v1/files", upload, methods=["POST"]),
        Route("/v1/files", files, methods=["GET"]),
        Route("/v1/files/{id}", file, methods=["GET", "DELETE"]),
        Route("/v1/files/{id}/content", content, methods=["GET"]),
    ]


def _batches(store: BatchStore) -> list[Route]:
    """In threads: a batch that is due is answered when it is looked at, which would hold up chats on the event loop."""

    async def create(request: Request) -> Response:
        return _json(await run_in_threadpool(store.create, await _body(request)))

    async def batches(request: Request) -> Response:
        return _json(await run_in_threadpool(store.batches, *_page(request)))

    async def batch(request: Request) -> Response:
        return _json(await run_in_threadpool(store.batch, request.path_params["id"]))

    async def cancel(request: Request) -> Response:
        return _json(await run_in_threadpool(store.cancel, request.path_params["id"]))

    return [
        Route("/v1/batches", create, methods=["POST"]),
        Route("/v1/batches", batches, methods=["GET"]),
        Route("/v1/batches/{id}", batch, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", cancel, methods=["POST"]),
    ]


def _fine_tuning(jobs: FineTuningStore) -> list[Route]:
    """In threads, as batches: a job reads its files when it is looked at."""

    async def create(request: Request) -> Response:
        return _json(await run_in_threadpool(jobs.create, await _body(request)))

    async def page(request: Request) -> Response:
        return _json(await run_in_threadpool(jobs.jobs, *_page(request)))

    async def job(request: Request) -> Response:
        return _json(await run_in_threadpool(jobs.job, request.path_params["id"]))

    async def events(request: Request) -> Response:
        return _json(await run_in_threadpool(jobs.events, request.path_params["id"]))

    async def cancel(request: Request) -> Response:
        return _json(await run_in_threadpool(jobs.cancel, request.path_params["id"]))

    return [
        Route("/v1/fine_tuning/jobs", create, methods=["POST"]),
        Route("/v1/fine_tuning/jobs", page, methods=["GET"]),
        Route("/v1/fine_tuning/jobs/{id}", job, methods=["GET"]),
        Route("/v1/fine_tuning/jobs/{id}/events", events, methods=["GET"]),
        Route("/v1/fine_tuning/jobs/{id}/cancel", cancel, methods=["POST"]),
    ]


def _page(request: Request) -> tuple[str | None, int]:
    """`after` and `limit` of a list."""
    limit = request.query_params.get("limit", "20")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise RequestError("'limit' must be a whole number from 1 to 100.", parameter="limit")
    return request.query_params.get("after"), int(limit)


async def _body(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise RequestError(f"We could not parse the JSON body of your request: {error}.") from None


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False).encode(), status, media_type="application/json")


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "flywheel-pipelines"}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _json(error.body, error.status)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = f"Invalid URL ({request.method} {request.url.path})"
    return _json(RequestError(words, status=error.status_code).body, error.status_code)


async def _broken(request: Request, error: Exception) -> Response:
    words = f"The offline writer failed on this request ({type(error).__name__})."
    return _json(RequestError(words, status=500).body, 500)


def _multipart(body: bytes, content_type: str) -> tuple[str, dict[str, bytes]]:
    """The name of the file and the fields of a form (RFC 7578); Starlette would need another package for it."""
    header = BytesHeaderParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n")
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise RequestError("Expected multipart/form-data.")
    name, fields = "", {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        described = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
        field = described.get_param("name", header="content-disposition")
        if isinstance(field, str):
            fields[field] = value
            if field == "file":
                name = described.get_filename() or "upload"
    return name, fields
