"""The ASGI application of online serving: its paths and what they answer."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mlflow
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from pyfunc.contract import to_json
from tasks.serving.limits import Limits
from tasks.serving.line import LineRequest
from tasks.serving.protocol import JSON, ClassifyBody, InvocationsBody
from tasks.serving.schema import (
    ClassifyAnswer,
    Health,
    InvocationsAnswer,
    Problem,
    describe_bodies,
    described,
)
from tasks.serving.server import CLIENT_GONE, RequestRefusedError, Server
from tasks.serving.types import ServingOptions

VERSION_HEADER = "X-Model-Version"

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectAnswers:
    """ASGI application: calls what answers texts, and leaves all else to another application.

    FastAPI's own layers around an endpoint take a sixth of the requests/s of cached texts.
    """

    def __init__(self, application: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        """Take the endpoints.

        Args:
            application: What answers everything else.
            endpoints: What answers `POST`, by its path.
        """
        self._application = application
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # uvicorn sends no body
        endpoint = self._endpoints.get(scope.get("path", ""))
        if endpoint is None or scope["type"] != "http" or scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except RequestRefusedError as refusal:
            response = await _refused(request, refusal)
        except HTTPException as error:
            response = await _not_found(request, error)
        except ClientDisconnect:  # nobody reads it, but the log has the status
            response = _problem(CLIENT_GONE, "the client went away")
        except Exception as error:
            response = await _failed(request, error)
            await response(scope, receive, send)
            raise  # uvicorn logs it
        await response(scope, receive, send)


def create_application(
    options: ServingOptions, *, token: str = "", shared_metrics: bool = False
) -> Callable[..., Any]:
    """Return the ASGI application.

    Args:
        options: How it answers.
        token: What requests have to send; empty lets everybody in.
        shared_metrics: Whether other processes of this server write metrics into the same folder.
    """
    server = Server(options, shared_metrics=shared_metrics)
    app = FastAPI(
        title="Millstream",
        description="Answers texts with the inference pipeline of a registered version.",
        lifespan=server.life,
        redirect_slashes=False,
        redoc_url=None,
    )
    endpoints = _add_answers(app, server)
    _add_watching(app, server)
    describe_bodies(app, ClassifyBody, InvocationsBody)
    app.add_exception_handler(RequestRefusedError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _failed)
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    return Limits(
        DirectAnswers(app, endpoints),
        paths=paths,
        token=token,
        max_bytes=options.max_bytes,
        metrics=server.metrics,
    )


def _add_answers(app: FastAPI, server: Server) -> Mapping[str, Endpoint]:
    """Add what answers texts, with its schema, and return it by path."""

    @app.post("/classify", **described(ClassifyBody, ClassifyAnswer))
    async def classify(request: Request) -> Response:
        """Classify texts."""
        answered = await server.answer(request, ClassifyBody)
        return _answered(answered, orjson.dumps({"answers": answered.documents}))

    @app.post("/invocations", **described(InvocationsBody, InvocationsAnswer))
    async def invocations(request: Request) -> Response:
        """Classify texts, in MLflow's protocol."""
        answered = await server.answer(request, InvocationsBody)
        predictions = [{"text": to_json(document)} for document in answered.documents]
        return _answered(answered, orjson.dumps({"predictions": predictions}))

    return {"/classify": classify, "/invocations": invocations}


def _add_watching(app: FastAPI, server: Server) -> None:
    @app.get("/ping", responses={503: {"model": Problem}}, response_class=PlainTextResponse)
    async def ping() -> Response:
        """Answer 200 if a version is loaded."""
        server.served()
        return PlainTextResponse("\n")

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Say what answers; 503 if nothing does yet."""
        found = server.health()
        status = 503 if found["status"] == "starting" else 200
        return Response(orjson.dumps(found) + b"\n", status, media_type=JSON)

    @app.get("/version", response_class=PlainTextResponse)
    async def version() -> Response:
        """Answer the version of MLflow, as its own server does."""
        return PlainTextResponse(mlflow.__version__)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Answer the metrics, for Prometheus."""
        content = await asyncio.to_thread(server.metrics.render)
        return Response(content, media_type=CONTENT_TYPE_LATEST)


def _answered(answered: LineRequest, content: bytes) -> Response:
    versions = ", ".join(map(str, sorted(answered.versions)))
    return Response(content, media_type=JSON, headers={VERSION_HEADER: versions})


def _problem(status: int, error: str, retry_after: float = 0) -> Response:
    headers = {"Retry-After": str(math.ceil(retry_after))} if retry_after else None
    return Response(json.dumps({"error": error}) + "\n", status, headers, media_type=JSON)


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, RequestRefusedError)  # noqa: S101
    return _problem(refusal.status, refusal.error, refusal.retry_after)


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    response = _problem(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _failed(_: Request, error: Exception) -> Response:
    return _problem(
        500, f"an error of the server ({type(error).__name__}); the log has the traceback"
    )
