"""Plan which experts answer a request, in which order, from the router's ruling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.selection.presets import Expectation, Preset
from serve.experts.client import ExpertClient
from serve.ledger.messages import Caller, Grant
from serve.request.breaker import Breaker
from serve.request.candidates.door import check_model
from serve.request.candidates.permissions import allowed, offering, permitted, query_of, refuse_limits
from serve.request.clients import RouterClient
from serve.request.conversations import falls_short, loses_little
from serve.request.in_flight import CompletionRequest, Plan
from serve.router.messages import Query, Ruling
from serve.wire.api_errors import ApiError
from serve.wire.expert_request import ROUTED
from serve.wire.vectors import EmbeddingsRequest, RerankRequest, VectorRequest
from warehouse import InputError, NobodyMayAnswerError

#: Of some experts, those that can serve a request; an ApiError where none can.
CanServe = Callable[[Sequence[str]], Awaitable[tuple[str, ...]]]
ENSEMBLE = "ensemble"  # in a model's name: several experts may be asked for one answer
ROUTED_FORMS = (ROUTED, f"{ROUTED}:<preset>", f"{ROUTED}:{ENSEMBLE}", f"{ROUTED}:{ENSEMBLE}:<preset>")


@dataclass(frozen=True)
class Offered:
    """A name that a request may put into ``model``: whose it is, and what is promised of it."""

    owner: str
    multiplier: float | None = None  # of a preset
    expected: Expectation | None = None


def offered_models(
    experts: Mapping[str, ExpertClient], caller: Caller, presets: Mapping[str, Preset]
) -> dict[str, Offered]:
    """Return what a request of this caller may put into ``model``: the router's presets, then the experts.

    What a preset is expected to come to holds for the whole pool: keys that may use a part of it are told
    the names alone.
    """
    names = permitted(experts, caller)
    found = {name: Offered(experts[name].spec.backend) for name in names}
    if not names:
        return found
    routed = {ROUTED: Offered(ROUTED)}
    for name, preset in presets.items():
        expected = preset.expected if len(names) == len(experts) else None
        routed[f"{ROUTED}:{name}"] = Offered(ROUTED, preset.multiplier, expected)
    offered = routed | {f"{ROUTED}:{ENSEMBLE}": Offered(ROUTED)} | found
    return {name: one for name, one in offered.items() if caller.models is None or name in caller.models}


async def read_request(
    request: CompletionRequest,
    caller: Caller,
    experts: Mapping[str, ExpertClient],
    breaker: Breaker,
    can_serve: CanServe,
) -> tuple[Query | None, tuple[str, ...]]:
    """Return what to decide on (None where the request names the expert), and who may answer.

    Experts that rest are left out while there are others. One that is named is asked all the same: its caller
    wants no other, and its answer, or its refusal, is truer than ours.

    Experts that cannot serve the request are left out before.

    Raises:
        ApiError: the request names no expert that this caller may use, none can serve it, or its limits
            exclude each other.
    """
    check_model(caller, request.model, request)
    experts = offering(experts, request.task)
    visible = permitted(experts, caller)
    if request.model in visible:
        refuse_limits(request)
        if isinstance(request, EmbeddingsRequest | RerankRequest):  # each of its texts has the window
            return None, (request.model,)
        return None, await can_serve((request.model,))
    if isinstance(request, EmbeddingsRequest | RerankRequest):
        return None, (_only_one(request, visible),)
    name, *options = request.model.split(":")
    wants_several = options[:1] == [ENSEMBLE]
    preset = "".join(options[wants_several:])
    if name != ROUTED or len(options) > 1 + wants_several or (options[wants_several:] and not preset):
        raise ApiError(
            404,
            f"no model {request.model!r}; there are {', '.join((*ROUTED_FORMS, *visible))}",
            param="model",
            code="model_not_found",
        )
    if wants_several and request.min_success is not None:
        raise ApiError(
            400,
            f"min_success says who may answer alone, {request.model} goes by what several say; leave one out",
            param="min_success",
            code="invalid_request",
        )
    names = await can_serve(allowed(experts, request.experts, caller))
    resting = breaker.resting(names, caller.key_id)
    deny = resting if len(resting) < len(names) else ()
    query = query_of(request, request.query, preset or caller.preset, names, deny)
    return replace(query, wants_habits=wants_several), names


def _only_one(request: VectorRequest, visible: Sequence[str]) -> str:
    """Return the one expert that may answer where the request leaves it open: no router decides on these."""
    if request.model != ROUTED or not visible:
        told = ", ".join(visible) or "none"
        what = f"no model {request.model!r} for {request.task}; there are {told}"
        raise ApiError(404, what, param="model", code="model_not_found")
    refuse_limits(request)
    if len(visible) > 1:
        raise ApiError(
            400,
            f"several experts offer {request.task}, and what they say cannot be compared; name one as model:"
            f" {', '.join(visible)}",
            param="model",
            code="invalid_request",
        )
    return visible[0]


async def rule(router: RouterClient, query: Query, caller: Caller, *, preset_in: str = "model") -> Ruling:
    """Let the router decide; ``preset_in`` is the field of the request that names a preset.

    Raises:
        ApiError: nobody may answer.
    """
    try:
        return await router.decide(query)
    except NobodyMayAnswerError as error:
        # Its words may name experts that a restricted key is to learn nothing of.
        told = str(error) if caller.experts is None else "none of the experts of this key may answer this"
        raise ApiError(400, told, code="no_expert_allowed") from None
    except InputError as error:
        presets = await router.presets()
        if query.preset is not None and query.preset not in presets:
            told = f"the router in use has no preset {query.preset!r}; there are {', '.join(presets)}"
            raise ApiError(400, told, param=preset_in, code="unknown_preset") from None
        told = str(error) if caller.experts is None else "the router takes no such limits"
        raise ApiError(400, told, code="invalid_request") from None


def make_plan(
    named: tuple[str, ...],
    ruling: Ruling | None,
    held_by: str | None,
    min_success: float | None,
    grant: Grant,
    saved_usd: float = 0.0,
    *,
    brings_results: bool = False,
    in_session: bool = False,
) -> Plan:
    """Say who answers, in which order: as it was decided, unless a conversation may stay where it is.

    ``saved_usd`` is what its next answer costs less there. A turn that ``brings_results`` of tools, or is
    ``in_session`` with ``held_by``, stays as long as that expert may answer, and ``min_success`` does not
    speak against it.
    """
    if ruling is None:
        return Plan(named, "named by the request")
    decision = ruling.decision
    order = (decision.expert, *decision.fallbacks)
    may_stay = ruling.habits is None  # else a plan of several experts is being followed
    plan = Plan(order, decision.reason, ruling, may_explore=may_stay)
    must_stay = brings_results or in_session
    if may_stay and must_stay and held_by in order and not falls_short(decision, held_by, min_success):
        others = tuple(name for name in order if name != held_by)
        reason = f"a tool's result goes to {held_by}, which called the tool"
        if in_session:
            reason = f"the session stays with {held_by}"
        plan = Plan((held_by, *others), reason, ruling, may_explore=False)
    elif (
        may_stay and held_by in decision.fallbacks and loses_little(decision, held_by, min_success, saved_usd)
    ):
        others = tuple(name for name in plan.order if name != held_by)
        reason = f"the conversation stays with {held_by}: {decision.expert} promises little more"
        reason += f", and what {held_by} has cached saves ${saved_usd:.3g}" if saved_usd else ""
        plan = Plan((held_by, *others), reason, ruling, may_explore=False)
    if grant.allowance_usd is not None:
        plan = replace(plan, reason=f"{plan.reason}, paced at ${grant.allowance_usd:.3g} a request")
    return plan
