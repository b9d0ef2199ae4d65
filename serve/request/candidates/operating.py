"""The operator's door: experts go out of service and come back, and the catalogue is read again."""

from __future__ import annotations

import asyncio

from serve.config.orders import (
    COME_BACK_S,
    order_close,
    order_drain,
    order_open,
    order_reload,
    order_resume,
)
from serve.ledger.messages import Caller
from serve.request.gateway import Gateway
from serve.wire.api_errors import ApiError
from serve.wire.operating import Order
from serve.wire.protocol import Readiness
from warehouse import LeerooError


async def carry_out(gateway: Gateway, order: Order, caller: Caller) -> Readiness:
    """Carry out an order; the reply says how each expert is then. All ingresses follow within a second.

    Raises:
        ApiError: the caller is no operator, no such expert is served, or the catalogue cannot be used.
    """
    if not caller.sees_all:
        raise ApiError(403, "only an operator's key may do this", code="operators_only")
    home = gateway.config.home
    if order.expert is not None:
        if order.expert not in gateway.experts:
            told = f"no expert {order.expert!r} is served; there are {', '.join(gateway.experts)}"
            raise ApiError(404, told, param="expert", code="unknown_expert")
        change = order_drain if order.action == "drain" else order_resume
        await asyncio.to_thread(change, home, order.expert)
    elif order.action == "close":
        await asyncio.to_thread(order_close, home, order.retry_after_s or COME_BACK_S)
    elif order.action == "open":
        await asyncio.to_thread(order_open, home)
    elif gateway.read_again is not None:
        try:  # here, for what is wrong to be told; the ingresses do it for themselves
            await asyncio.to_thread(gateway.read_again, gateway.experts)
        except LeerooError as error:
            raise ApiError(400, str(error), code="invalid_catalogue") from None
        await asyncio.to_thread(order_reload, home)
    gateway.service.look_now()
    states = await gateway.expert_states()
    ready = "ok" in states.values() and not gateway.service.is_closed
    return Readiness(ready=ready, experts=states)
