"""Letting a request in: who answers it is decided, and what that can cost is set aside."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from experts.upstream import Ask, TokenCounter, measure
from experts.upstream.request import Extent
from serve.config import ServeConfig
from serve.experts.client import ExpertClient
from serve.ledger.messages import (
    MOST_USD,
    Caller,
    Explored,
    Grant,
    Refusal,
    Reservation,
    Reserved,
    Settlement,
)
from serve.request.asking.exploring import explore_plan, throw_dice
from serve.request.background import Background
from serve.request.books import settle_surely
from serve.request.breaker import Breaker
from serve.request.candidates.door import check_model
from serve.request.candidates.eligible import eligible
from serve.request.candidates.permissions import allowed, offering, query_of
from serve.request.candidates.service import Service
from serve.request.charges import RequestBudget, likely_usd
from serve.request.clients import LedgerClient, RouterClient
from serve.request.conversations import (
    answered_so_far,
    brings_results,
    saved_by_staying_usd,
    session_of,
)
from serve.request.cost_bounds import asks_of, hedged_costs
from serve.request.in_flight import CompletionRequest, Dice, InFlight, Visit
from serve.request.planning import CanServe, make_plan, read_request, rule
from serve.request.recording.recorder import recording_of
from serve.request.tracing.about_request import about_reserved, about_ruling
from serve.request.usable.judging import find_form
from serve.router.messages import Ruling
from serve.wire.api_errors import ApiError
from serve.wire.expert_request import ROUTED
from serve.wire.protocol import ChatRequest, RouteRequest


@dataclass(frozen=True)
class Admission:
    """Lets requests in. Whatever ends it on the way, nothing stays set aside."""

    router: RouterClient
    ledger: LedgerClient
    experts: Mapping[str, ExpertClient]
    breaker: Breaker
    counters: Mapping[str, TokenCounter]
    service: Service
    background: Background
    config: ServeConfig
    rng: np.random.Generator

    async def rule(self, request: RouteRequest, caller: Caller) -> Ruling:
        """Decide only; it counts as a request of the key's minute.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        reserved = await self.count_request(caller)
        preset = request.preset or caller.preset
        model = f"{ROUTED}:{request.preset}" if request.preset else ROUTED
        check_model(caller, model, request, named_in="preset")
        body: dict[str, Any] = {"prompt": request.query}
        if request.messages is not None:
            body = {"messages": [message.model_dump(exclude_unset=True) for message in request.messages]}
        can_serve = self._can_serve(body, request.text, measure(body))
        names = await can_serve(allowed(offering(self.experts, "chat"), request.experts, caller))
        query = query_of(request, request.text, preset, names)
        query = replace(query, allowance_usd=reserved.allowance_usd)
        return await rule(self.router, query, caller, preset_in="preset")

    async def count_tokens(self, request: CompletionRequest, caller: Caller) -> int:
        """Return the likely tokens of a request, the most of all experts; it counts as :meth:`rule` does.

        Raises:
            ApiError: the key asks too often, or nobody may answer.
        """
        await self.count_request(caller)
        # Whoever asks may want to know by how much it is too long.
        _, names = await read_request(request, caller, self.experts, self.breaker, _all)
        asks = asks_of((self.experts[name].spec for name in names), request.for_expert())
        return max(self.counters[name].prompt_tokens(ask.prompt_characters) for name, ask in asks.items())

    async def begin(self, request: CompletionRequest, caller: Caller, visit: Visit) -> InFlight:
        """Decide who answers and, at the same time (a paced key's before), set aside what that can cost.

        What is done is noted in the visit's notes.

        Raises:
            ApiError: the request is refused.
        """
        began, notes = time.monotonic(), visit.notes
        body = request.for_expert()
        extent = measure(body)
        can_serve = self._can_serve(body, request.query, extent)
        query, names = await read_request(request, caller, self.experts, self.breaker, can_serve)
        form = find_form(body, request.query if query is None else query.text)
        asks = asks_of((self.experts[name].spec for name in names), body, extent)
        dice = throw_dice(self.config, caller, self.rng, is_routed=query is not None)
        session = None
        if query is not None:
            by_user = self.config.session_by_user
            session = session_of(caller.key_id, request, visit.headers, by_user=by_user)
        reservation = self._reservation(request, caller, asks, dice, session, is_routed=query is not None)
        reserving = self.background.start(
            notes.during("reserve", self.ledger.reserve(reservation), about_reserved)
        )
        try:
            if query is not None and caller.is_paced:  # what the budget allows is part of the decision
                query = replace(query, allowance_usd=(await asyncio.shield(reserving)).allowance_usd)
            asked_at = time.monotonic()
            ruling = None
            if query is not None:
                ruling = await notes.during(
                    "decide",
                    rule(self.router, query, caller),
                    lambda found: about_ruling(found, recording_of(self.config, caller, request)),
                )
            decide_s = None if query is None else time.monotonic() - asked_at
            reserved = await asyncio.shield(reserving)
            grant = reserved.grant
            if isinstance(grant, Refusal):
                raise _refused(grant, asks)
            held_by = reserved.held_by
            saved_usd = (
                saved_by_staying_usd(asks[held_by], self.counters[held_by], reserved.silent_s)
                if held_by in asks
                else 0.0
            )
            plan = make_plan(
                names,
                ruling,
                held_by,
                request.min_success,
                grant,
                saved_usd,
                brings_results=brings_results(request.messages or ()),
                in_session=session is not None,
            )
            affordable = _affordable(plan.order, asks, grant)
            if not affordable:
                raise ApiError(
                    429, "the budget of this key covers no expert for this", code="insufficient_quota"
                )
            plan = explore_plan(
                plan, affordable, asks, dice, reserved.explore_usd, request.min_success, self.rng
            )
        except BaseException:
            unspent = Explored() if dice.explores else None
            settlement = Settlement(reservation.request_id, caller, 0.0, explored=unspent)
            giving_back = self._give_back(reserving, settlement)
            self.background.start(giving_back, is_booking=True)
            raise
        left_usd = grant.remaining_usd
        budget_usd = None if left_usd is None else left_usd + grant.reserved_usd
        return InFlight(
            request_id=reservation.request_id,
            request=request,
            caller=caller,
            began=began,
            asks=asks,
            order=tuple(self.experts[name] for name in _affordable(plan.order, asks, grant)),
            plan=plan,
            budget_usd=budget_usd,
            purse=RequestBudget(grant.reserved_usd),
            form=form,
            dice=dice,
            preset=None if query is None else query.preset,
            session=session,
            decide_s=decide_s,
            notes=notes,
        )

    async def count_request(self, caller: Caller) -> Reserved:
        """Count a request that costs nothing in the key's minute.

        Raises:
            ApiError: the key asks too often, or the endpoint stops.
        """
        reserved = await self.ledger.reserve(Reservation(_new_request_id(), caller, ()))
        if isinstance(reserved.grant, Refusal):
            raise _refused(reserved.grant)
        return reserved

    def _reservation(
        self,
        request: CompletionRequest,
        caller: Caller,
        asks: Mapping[str, Ask],
        dice: Dice,
        session: bytes | None,
        *,
        is_routed: bool,
    ) -> Reservation:
        turns = request.messages if is_routed and isinstance(request, ChatRequest) else ()
        likely = {name: likely_usd(ask, self.counters[name]) for name, ask in asks.items()}
        may_hedge = not dice.explores and 1 not in (request.max_experts_asked, caller.max_experts_asked)
        pairs = hedged_costs(asks, likely) if may_hedge else ()
        return Reservation(
            _new_request_id(),
            caller,
            (*(ask.most_usd for ask in asks.values()), *(most_usd for most_usd, _ in pairs)),
            session or answered_so_far(caller.key_id, turns),
            likely_usd=(*likely.values(), *(pair_usd for _, pair_usd in pairs)),
            explores=dice.explores,
        )

    def _can_serve(self, body: dict[str, Any], text: str, extent: Extent) -> CanServe:
        async def can_serve(names: Sequence[str]) -> tuple[str, ...]:
            specs = [self.experts[name].spec for name in self.service.in_service(tuple(names))]
            return await eligible(specs, body, text, extent, self.counters)

        return can_serve

    async def _give_back(self, reserving: asyncio.Task[Reserved], settlement: Settlement) -> None:
        """Give back what was set aside, or may have been, for a request that came to nothing."""
        await asyncio.wait({reserving})
        if reserving.cancelled() or reserving.exception() or isinstance(reserving.result().grant, Grant):
            await settle_surely(self.ledger, settlement)


def _affordable(names: Sequence[str], asks: Mapping[str, Ask], grant: Grant) -> tuple[str, ...]:
    """Return those of the experts that the money set aside covers."""
    return tuple(
        name
        for name in names
        if name in asks and min(asks[name].most_usd, MOST_USD) <= grant.reserved_usd + 1e-12
    )


async def _all(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names)


def _new_request_id() -> str:
    return f"req-{uuid.uuid4().hex}"


def _refused(refusal: Refusal, asks: Mapping[str, Ask] = MappingProxyType({})) -> ApiError:
    if refusal.code == "unbounded_cost":
        lacking = [name for name, ask in asks.items() if math.isinf(ask.most_usd)]
        told = (
            "a key with a budget can send images, sounds or files only to experts whose catalogue entry has"
            f" context_tokens, which {', '.join(lacking)} lacks"
        )
        return ApiError(400, told if lacking else refusal.message, param="messages", code=refusal.code)
    status = {"invalid_api_key": 401, "key_changed": 409, "shutting_down": 503}.get(refusal.code, 429)
    return ApiError(status, refusal.message, code=refusal.code, retry_after_s=refusal.retry_after_s)
