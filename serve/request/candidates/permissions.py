"""The demands of a request: which experts may answer it, and the text that the router reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experts.catalogue.spec import Task
from serve.experts.client import ExpertClient
from serve.ledger.messages import Caller
from serve.router.messages import Query
from serve.wire.api_errors import ApiError
from serve.wire.constraints import Constraints
from serve.wire.expert_request import ExpertRequest


def offering(experts: Mapping[str, ExpertClient], task: Task) -> dict[str, ExpertClient]:
    """Return the experts that can be asked for something."""
    return {name: client for name, client in experts.items() if task in client.spec.offers}


def permitted(served: Iterable[str], caller: Caller) -> list[str]:
    """Return those of the experts that a key may use."""
    return [name for name in served if caller.experts is None or name in caller.experts]


def allowed(served: Iterable[str], wanted: list[str] | None, caller: Caller) -> tuple[str, ...]:
    """Return the experts that may answer: those we run, the key permits and the request wants.

    Raises:
        ApiError: the request wants one that it may not have, or the key permits none.
    """
    names = permitted(served, caller)
    for name in wanted or ():
        if name not in names:
            raise ApiError(
                400,
                f"no expert {name!r} for this key; there are {', '.join(names)}",
                param="experts",
                code="unknown_expert",
            )
    if not names:
        raise ApiError(403, "none of the experts of this key is served here", code="no_expert_allowed")
    return tuple(wanted or names)


def query_of(
    limits: Constraints, text: str, preset: str | None, allow: tuple[str, ...], deny: tuple[str, ...] = ()
) -> Query:
    """Return what is to be decided.

    Raises:
        ApiError: there is no text to decide on.
    """
    if not text:
        raise ApiError(
            400,
            "no message has any text to choose an expert by; add some, or name an expert as model",
            param="messages",
            code="invalid_request",
        )
    return Query(
        text,
        preset=preset,
        multiplier=limits.multiplier,
        max_cost_usd=limits.max_cost_usd,
        min_success=limits.min_success,
        allow=allow,
        deny=deny,
    )


def refuse_limits(request: ExpertRequest) -> None:
    """Refuse limits on the choice of an expert where the request names the expert.

    Raises:
        ApiError: it has one.
    """
    for name in Constraints.model_fields:
        if getattr(request, name) is not None:
            raise ApiError(
                400,
                f"{name} says who may be chosen, and model names {request.model}; leave one of them out",
                param=name,
                code="invalid_request",
            )
