"""The HTTP interface: paths, OpenAPI, headers, server-sent events. The gateway does the rest."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE

from serve.http.admin.routes import add_admin
from serve.http.authentication import Authentication
from serve.http.body_limit import BodyLimit
from serve.http.described import REFUSALS, STREAM, FromHeaders, FromKey, complete
from serve.http.dialect_routes import add_dialects, add_vectors
from serve.http.draining import Draining
from serve.http.error_replies import add_error_handlers
from serve.http.local_names import LocalNames
from serve.http.page.read import read_page
from serve.http.reading import ReadOnce
from serve.request.candidates.operating import carry_out
from serve.request.gateway import Gateway
from serve.request.planning import Offered
from serve.wire.api_errors import ApiError
from serve.wire.feedback import FeedbackReply, FeedbackRequest
from serve.wire.operating import Order
from serve.wire.overview import OverviewReply
from serve.wire.protocol import (
    ChatReply,
    ChatRequest,
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
from serve.wire.request_headers import NO_HEADERS

logger = logging.getLogger("ray.serve")


def create_api(gateway: Gateway) -> FastAPI:
    """Return the web application around a gateway."""
    app = FastAPI(
        title="Leeroo Orchestrator",
        description="The APIs of OpenAI and Anthropic, answered by the expert that the orchestrator chooses"
        " for each request.",
        version="1",
        redoc_url=None,
        docs_url=None,
    )
    app.state.session_header = gateway.config.session_header
    add_error_handlers(app)
    page, policy = read_page()
    app.add_middleware(BodyLimit, max_bytes=gateway.config.max_body_bytes)
    # The outer one: no key, nothing read.
    trusted = gateway.config.trusted_proxies
    app.add_middleware(Authentication, identifier=gateway.ledger, trusted_proxies=trusted)
    if gateway.config.access == "open":
        app.add_middleware(LocalNames)
    gateway.ledger.life.count_background = gateway.count_background
    app.add_middleware(Draining, life=gateway.ledger.life, end_background=gateway.drain)

    asked = APIRouter(route_class=ReadOnce)

    @asked.post(
        "/v1/chat/completions",
        responses={200: {"model": ChatReply, **STREAM}, **REFUSALS},
        response_model=None,
    )
    async def chat_completions(
        request: Annotated[ChatRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Answer a conversation: routed if ``model`` is leeroo, else by the expert it names."""
        return await complete(gateway, request, caller, headers)

    @asked.post(
        "/v1/completions", responses={200: {"model": TextReply, **STREAM}, **REFUSALS}, response_model=None
    )
    async def completions(
        request: Annotated[TextRequest, Body()], caller: FromKey, headers: FromHeaders = NO_HEADERS
    ) -> Response:
        """Continue a text: routed if ``model`` is leeroo, else by the expert it names."""
        return await complete(gateway, request, caller, headers)

    @asked.post("/v1/route", responses=REFUSALS)
    async def route(request: Annotated[RouteRequest, Body()], caller: FromKey) -> RouteReply:
        """Return which expert would answer, with the forecasts behind the choice, without asking any expert.

        Counts as a request of the key's minute. Of a text longer than 8,000 characters the router reads the
        first and the last 4,000, and the length.
        """
        with gateway.admit(caller):
            return await gateway.route(request, caller)

    @asked.post("/v1/feedback", responses=REFUSALS)
    async def feedback(request: Annotated[FeedbackRequest, Body()], caller: FromKey) -> FeedbackReply:
        """Say how good an answer was: a score or a thumb, a comment, the answer as it should have been.

        Works at any time, for a recorded answer to this key. Later feedback replaces earlier feedback.
        Texts are kept if the request's texts are.
        """
        return await gateway.add_feedback(request, caller)

    add_dialects(asked, gateway)
    add_vectors(asked, gateway)

    @asked.post("/v1/operate", responses={code: REFUSALS[code] for code in (400, 401, 403, 404, 413)})
    async def operate(request: Annotated[Order, Body()], caller: FromKey) -> Readiness:
        """Take an expert out of service, put it back; read the catalogue again; close and open the endpoint.

        For operators (`leeroo keys create --operator`), and for every caller of an open endpoint.
        """
        return await carry_out(gateway, request, caller)

    app.include_router(asked)
    add_admin(app, gateway.ledger)

    @app.get("/v1/models", responses={401: REFUSALS[401]})
    async def models(caller: FromKey) -> ModelList:
        """List the models that a request of this key may name."""
        offered = await gateway.models(caller)
        return ModelList(data=[_card(gateway, name, one) for name, one in offered.items()])

    @app.get("/v1/models/{name:path}", responses={code: REFUSALS[code] for code in (401, 404)})
    async def model(name: str, caller: FromKey) -> ModelCard:
        """Describe one model that a request of this key may name."""
        offered = (await gateway.models(caller)).get(name)
        if offered is None:
            raise ApiError(404, f"no model {name!r}", param="model", code="model_not_found")
        return _card(gateway, name, offered)

    @app.get("/v1/overview", responses={code: REFUSALS[code] for code in (400, 401, 503)})
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
        ready = "ok" in states.values() and not gateway.service.is_closed
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
