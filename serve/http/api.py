"""The HTTP interface: paths, OpenAPI, headers, server-sent events. The gateway does the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from starlette.types import Message, Receive, Scope, Send

from serve.http.authentication import Authentication
from serve.http.body_limit import BodyLimit
from serve.http.draining import Draining
from serve.http.error_replies import add_error_handlers
from serve.http.local_names import LocalNames
from serve.http.page.read import read_page
from serve.http.reading import JsonReply, ReadOnce
from serve.ledger.messages import Caller
from serve.request.gateway import Gateway
from serve.request.planning import Offered
from serve.wire.api_errors import ApiError
from serve.wire.feedback import FeedbackReply, FeedbackRequest
from serve.wire.json_text import write_json
from serve.wire.overview import OverviewReply
from serve.wire.protocol import (
    ChatReply,
    ChatRequest,
    ErrorReply,
    Health,
    ModelCard,
    ModelList,
    Promise,
    Readiness,
    RouteReply,
    RouteRequest,
    TextReply,
    TextRequest,
)

logger = logging.getLogger("ray.serve")

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorReply, "description": "the request does not hold together, or nobody may answer it"},
    401: {"model": ErrorReply, "description": "no key, or one that is not valid"},
    403: {"model": ErrorReply, "description": "the key permits no expert that is served"},
    404: {"model": ErrorReply, "description": "no such model or answer"},
    408: {"model": ErrorReply, "description": "the body of the request did not arrive"},
    413: {"model": ErrorReply, "description": "the request is too large"},
    429: {"model": ErrorReply, "description": "too many requests; Retry-After says when to come back"},
    503: {"model": ErrorReply, "description": "the ledger or the router is starting again"},
    502: {"model": ErrorReply, "description": "no expert could answer"},
    504: {"model": ErrorReply, "description": "no expert answered in time"},
}


_KEEP_ALIVE = b": waiting for an answer\n\n"
#: How long a client may take nothing of its stream, which holds a place here and at its expert.
_UNREAD_S = 60.0
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_STREAM = {"content": {"text/event-stream": {"schema": _EVENT}}}


async def _caller(request: Request) -> Caller:  # async, or FastAPI would hand it to a thread
    caller: Caller = request.state.caller
    return caller


FromKey = Annotated[Caller, Depends(_caller)]
FromTrace = Annotated[
    str | None, Header(description="the caller's span (W3C Trace Context), where the endpoint traces")
]


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
    page, policy = read_page()
    app.add_middleware(BodyLimit, max_bytes=gateway.config.max_body_bytes)
    app.add_middleware(Authentication, identifier=gateway.ledger)  # the outer one: no key, nothing read
    if gateway.config.access == "open":
        app.add_middleware(LocalNames)
    gateway.ledger.life.count_background = gateway.count_background
    app.add_middleware(Draining, life=gateway.ledger.life, end_background=gateway.drain)

    asked = APIRouter(route_class=ReadOnce)

    @asked.post(
        "/v1/chat/completions",
        responses={200: {"model": ChatReply, **_STREAM}, **_REFUSALS},
        response_model=None,
    )
    async def chat_completions(
        request: Annotated[ChatRequest, Body()], caller: FromKey, traceparent: FromTrace = None
    ) -> Response:
        """Answer a conversation: routed if ``model`` is leeroo, else by the expert it names."""
        return await _complete(gateway, request, caller, traceparent)

    @asked.post(
        "/v1/completions", responses={200: {"model": TextReply, **_STREAM}, **_REFUSALS}, response_model=None
    )
    async def completions(
        request: Annotated[TextRequest, Body()], caller: FromKey, traceparent: FromTrace = None
    ) -> Response:
        """Continue a text: routed if ``model`` is leeroo, else by the expert it names."""
        return await _complete(gateway, request, caller, traceparent)

    @asked.post("/v1/route", responses=_REFUSALS)
    async def route(request: Annotated[RouteRequest, Body()], caller: FromKey) -> RouteReply:
        """Return which expert would answer, with the forecasts behind the choice, without asking any expert.

        Counts as a request of the key's minute. Of a text longer than 8,000 characters the router reads the
        first and the last 4,000, and the length.
        """
        with gateway.admit(caller):
            return await gateway.route(request, caller)

    @asked.post("/v1/feedback", responses=_REFUSALS)
    async def feedback(request: Annotated[FeedbackRequest, Body()], caller: FromKey) -> FeedbackReply:
        """Say how good an answer was: a score or a thumb, a comment, the answer as it should have been.

        Works at any time, for a recorded answer to this key. Later feedback replaces earlier feedback.
        Texts are kept if the request's texts are.
        """
        return await gateway.add_feedback(request, caller)

    app.include_router(asked)

    @app.get("/v1/models", responses={401: _REFUSALS[401]})
    async def models(caller: FromKey) -> ModelList:
        """List the models that a request of this key may name."""
        offered = await gateway.models(caller)
        return ModelList(data=[_card(gateway, name, one) for name, one in offered.items()])

    @app.get("/v1/models/{name:path}", responses={code: _REFUSALS[code] for code in (401, 404)})
    async def model(name: str, caller: FromKey) -> ModelCard:
        """Describe one model that a request of this key may name."""
        offered = (await gateway.models(caller)).get(name)
        if offered is None:
            raise ApiError(404, f"no model {name!r}", param="model", code="model_not_found")
        return _card(gateway, name, offered)

    @app.get("/v1/overview", responses={code: _REFUSALS[code] for code in (400, 401, 503)})
    async def overview(
        caller: FromKey,
        days: Annotated[int, Query(ge=1, le=31, description="number of days, including today")] = 7,
    ) -> OverviewReply:
        """Summarise the last days: requests, spending, savings, experts, keys, recent decisions and reasons.

        An operator's key (`leeroo keys create --operator`) sees all requests, as does every caller of an open
        endpoint; any other key sees its own.
        """
        return await gateway.overview(caller, days)

    @app.get("/healthz")
    async def healthz() -> Health:
        """Say that the endpoint is alive, and which experts it serves."""
        return Health(router_version=await gateway.router.version(), experts=list(gateway.experts))

    @app.get("/readyz", responses={503: {"model": Readiness, "description": "no expert is in service"}})
    async def readyz(response: Response) -> Readiness:
        """Say whether requests can be answered now."""
        states = await gateway.expert_states()
        ready = "ok" in states.values()
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, experts=states)

    @app.get("/", include_in_schema=False)
    async def page_of_the_endpoint() -> Response:
        """Return the page with the playground and the overview; it loads nothing else."""
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return metrics in Prometheus's text format."""
        return PlainTextResponse(await gateway.figures(), media_type=CONTENT_TYPE)

    return app


def _card(gateway: Gateway, name: str, offered: Offered) -> ModelCard:
    promise = None
    if offered.multiplier is not None:
        known = None if offered.expected is None else asdict(offered.expected)
        promise = Promise(multiplier=offered.multiplier, **(known or {}))
    return ModelCard(id=name, created=gateway.started, owned_by=offered.owner, leeroo=promise)


async def _complete(
    gateway: Gateway, request: ChatRequest | TextRequest, caller: Caller, traceparent: str | None = None
) -> Response:
    if not request.stream:
        with gateway.admit(caller):
            answer = await gateway.answer(request, caller, traceparent)
        return JsonReply(answer, headers=_headers(answer["leeroo"]))
    with ExitStack() as stack:
        stack.enter_context(gateway.admit(caller))
        report, pieces = await gateway.stream(request, caller, traceparent)
        held = stack.pop_all()  # the place is held until the last piece is sent
    return EventStream(pieces, held, _headers(report))


class EventStream(StreamingResponse):
    """Sends the pieces of an answer as server-sent events; closes them, and its place, at any end."""

    def __init__(
        self, pieces: AsyncGenerator[dict[str, Any], None], held: ExitStack, headers: dict[str, str]
    ) -> None:
        self._pieces, self._held = pieces, held
        headers = {"Cache-Control": "no-cache", **headers}
        super().__init__(_events(pieces), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A client may leave before the first piece is asked for, and who takes nothing has left."""
        is_unread = False

        async def send_to_reader(message: Message) -> None:
            nonlocal is_unread
            try:
                async with asyncio.timeout(_UNREAD_S):
                    await send(message)
            except TimeoutError:
                is_unread = True
                raise

        try:
            await super().__call__(scope, receive, send_to_reader)
        except Exception:
            if not is_unread:
                raise
        finally:
            self._held.close()
            await self._pieces.aclose()


async def _events(pieces: AsyncGenerator[dict[str, Any], None]) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield b"data: %b\n\n" % write_json(piece) if piece else _KEEP_ALIVE
    except Exception:  # the headers are out: what is left is to say it in the stream's own words
        logger.exception("a stream failed")
        failed = ApiError(500, "the endpoint failed on this request", code="internal_error")
        yield b"data: %b\n\n" % write_json(failed.body())
    yield b"data: [DONE]\n\n"


def _headers(report: dict[str, Any]) -> dict[str, str]:
    """Return the headers that say who answered; the same facts as the ``leeroo`` object."""
    named = {
        "x-leeroo-request-id": report.get("request_id"),
        "x-leeroo-expert": report.get("expert"),
        "x-leeroo-router-version": report.get("router_version"),
        "x-leeroo-predicted-success": report.get("predicted_success"),
        "x-leeroo-cost-usd": report.get("cost_usd"),
        "x-leeroo-remaining-usd": report.get("remaining_usd"),
        "x-leeroo-tried": ",".join(attempt["expert"] for attempt in report["tried"]) or None,
    }
    return {name: _header_value(value) for name, value in named.items() if value is not None}


def _header_value(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.encode("ascii", "replace").decode()
