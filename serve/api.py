"""The HTTP face: paths, OpenAPI, headers, server-sent events. The gateway does the rest."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from serve.errors import add_error_handlers
from serve.expert_client import Answer
from serve.gateway import Gateway
from serve.limits import BodyLimit
from serve.protocol import (
    ChatReply,
    ChatRequest,
    ErrorReply,
    Health,
    ModelCard,
    ModelList,
    Readiness,
    RouteReply,
    RouteRequest,
    TextReply,
    TextRequest,
)

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorReply, "description": "the request does not hold together, or nobody may answer it"},
    404: {"model": ErrorReply, "description": "no such model"},
    413: {"model": ErrorReply, "description": "the request is too large"},
    429: {"model": ErrorReply, "description": "too many requests; Retry-After says when to come back"},
    502: {"model": ErrorReply, "description": "no expert could answer"},
    504: {"model": ErrorReply, "description": "no expert answered in time"},
}


def create_api(gateway: Gateway) -> FastAPI:
    """Return the web application around a gateway."""
    app = FastAPI(
        title="Leeroo Orchestrator",
        description="OpenAI's API, answered by the expert that the orchestrator chooses for each request.",
        version="1",
        redoc_url=None,
        docs_url=None,
    )
    add_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=gateway.config.max_body_bytes)

    @app.post("/v1/chat/completions", responses={200: {"model": ChatReply}, **_REFUSALS}, response_model=None)
    async def chat_completions(request: Annotated[ChatRequest, Body()]) -> Response:
        """Answer a conversation: routed if ``model`` is leeroo, else by the expert it names."""
        return await _complete(gateway, request)

    @app.post("/v1/completions", responses={200: {"model": TextReply}, **_REFUSALS}, response_model=None)
    async def completions(request: Annotated[TextRequest, Body()]) -> Response:
        """Go on with a text: routed if ``model`` is leeroo, else by the expert it names."""
        return await _complete(gateway, request)

    @app.post("/v1/route", responses=_REFUSALS)
    async def route(request: Annotated[RouteRequest, Body()]) -> RouteReply:
        """Say who would answer, with the forecasts behind it, and ask nobody."""
        return await gateway.route(request)

    @app.get("/v1/models")
    async def models() -> ModelList:
        """List what a request may put into ``model``."""
        cards = [
            ModelCard(id=name, created=gateway.started, owned_by="leeroo") for name in gateway.routed_names
        ]
        cards += [
            ModelCard(id=name, created=gateway.started, owned_by=client.spec.backend)
            for name, client in gateway.experts.items()
        ]
        return ModelList(data=cards)

    @app.get("/healthz")
    async def healthz() -> Health:
        """Say that the endpoint is alive, and what it serves."""
        return Health(router_version=await gateway.router.version(), experts=list(gateway.experts))

    @app.get("/readyz", responses={503: {"model": Readiness, "description": "no expert is in service"}})
    async def readyz(response: Response) -> Readiness:
        """Say whether requests can be answered now."""
        resting = gateway.breaker.resting(gateway.experts)
        ready = len(resting) < len(gateway.experts)
        response.status_code = 200 if ready else 503
        states: dict[str, Literal["ok", "resting"]] = {
            name: "resting" if name in resting else "ok" for name in gateway.experts
        }
        return Readiness(ready=ready, experts=states)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Give figures in Prometheus's text format."""
        return PlainTextResponse(gateway.metrics.render(), media_type=gateway.metrics.content_type)

    return app


async def _complete(gateway: Gateway, request: ChatRequest | TextRequest) -> Response:
    if not request.stream:
        with gateway.admit():
            answer = await gateway.answer(request)
        return JSONResponse(answer, headers=_headers(answer["leeroo"]))
    with ExitStack() as stack:
        stack.enter_context(gateway.admit())
        report, pieces = await gateway.stream(request)
        held = stack.pop_all()  # the place is held until the last piece is sent
    return StreamingResponse(
        _events(pieces, held),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", **_headers(report)},
    )


async def _events(pieces: AsyncGenerator[Answer, None], held: ExitStack) -> AsyncIterator[str]:
    with held:
        async with aclosing(pieces):
            async for piece in pieces:
                yield f"data: {json.dumps(piece, separators=(',', ':'))}\n\n"
        yield "data: [DONE]\n\n"


def _headers(report: dict[str, Any]) -> dict[str, str]:
    """Return the headers that say who answered; the same facts as the ``leeroo`` object."""
    named = {
        "x-leeroo-expert": report.get("expert"),
        "x-leeroo-router-version": report.get("router_version"),
        "x-leeroo-predicted-success": report.get("predicted_success"),
        "x-leeroo-cost-usd": report.get("cost_usd"),
        "x-leeroo-tried": ",".join(attempt["expert"] for attempt in report["tried"]) or None,
    }
    return {name: _header_value(value) for name, value in named.items() if value is not None}


def _header_value(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.encode("ascii", "replace").decode()
