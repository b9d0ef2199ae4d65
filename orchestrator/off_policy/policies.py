"""The expert that a version would ask first on each logged request, without exploration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.off_policy.logged import LoggedTraffic, Requests
from orchestrator.policy import Orchestrator
from orchestrator.selection.value import net_value
from orchestrator.text.embedder import weights_key
from orchestrator.text.queries import Queries
from warehouse import NotReadyError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Policies:
    """The choices of versions on the requests for which all of them are known."""

    logged: LoggedTraffic
    probability: dict[str, Floats]  # by version: [n, m] one 1 a row
    unread: int  # requests left out: their embeddings are of other weights than a version reads


def policies_of(logged: LoggedTraffic, routers: Mapping[str, Orchestrator]) -> Policies:
    """Return each version's choices on the traffic.

    If the version itself decided a request, its choice is the recorded one, which respects the limits of
    the request. On other requests it decides by the recorded embedding, among the allowed experts, at the
    price on cost that it would have used: its own price for the request's preset, its own default if the
    deciding version used its default, else the price that the request gave.

    Args:
        logged: read from a warehouse.
        routers: by version.

    Raises:
        NotReadyError: there is no request for which the choices of all of them are known.
    """
    requests = logged.requests
    assert requests is not None, "traffic that was read from a warehouse says what was asked"
    defaults = {version: router.multiplier for version, router in routers.items()}
    readable = np.ones(len(logged), bool)
    for version, router in routers.items():
        readable &= (requests.router_version == version) | _is_read_by(requests, router)
    if not readable.any():
        raise NotReadyError(
            "no recorded request can be decided again: the versions use other embedders",
            where="table traffic, column embedder",
            fix="compare versions of one embedder, or wait for traffic that one of them has decided",
        )
    kept = logged.take(readable)
    probability = {
        version: _one_hot(_choices(kept, version, router, defaults), len(kept.experts))
        for version, router in routers.items()
    }
    return Policies(kept, probability, int((~readable).sum()))


def _is_read_by(requests: Requests, router: Orchestrator) -> NDArray[np.bool_]:
    key = weights_key(router.embedder.weights)
    known = np.array([vector is not None for vector in requests.embedding], bool)
    return np.asarray(known & (requests.embedder == key))


def _choices(
    logged: LoggedTraffic, version: str, router: Orchestrator, defaults: Mapping[str, float]
) -> NDArray[np.intp]:
    requests = logged.requests
    assert requests is not None
    choice: NDArray[np.intp] = logged.propensity.argmax(axis=1)  # the greedy one, of whoever decided
    others = np.flatnonzero(requests.router_version != version)
    if not len(others):
        return choice
    asked = requests.take(others)
    queries = Queries(np.stack(list(asked.embedding)), np.stack(list(asked.surface)), router.embedder.widths)
    success, cost = router.predictor.predict(queries), router.cost.predict(queries)
    known = np.array([name in router.experts for name in logged.experts])
    columns = [router.experts.index(name) for name in np.array(logged.experts)[known]]
    value = np.full((len(others), len(logged.experts)), -np.inf)
    price = np.full_like(value, np.inf)
    multiplier = _multipliers(asked, router, defaults)[:, None]
    value[:, known] = net_value(success[:, columns], cost[:, columns], multiplier)
    price[:, known] = cost[:, columns]
    value[~logged.allowed[others]] = -np.inf
    tied = value >= value.max(axis=1, keepdims=True)
    own_choice = np.where(tied, price, np.inf).argmin(axis=1)
    # Whom a version may not ask at all, it leaves to the one that decided.
    able = np.isfinite(value).any(axis=1)
    choice[others[able]] = own_choice[able]
    return choice


def _multipliers(asked: Requests, router: Orchestrator, defaults: Mapping[str, float]) -> Floats:
    """The price on cost [n] that a version would have had."""
    multiplier = asked.multiplier.copy()
    for version, default in defaults.items():
        by_default = (asked.router_version == version) & (asked.preset == "") & (multiplier == default)
        multiplier[by_default] = router.multiplier
    for name, preset in router.presets.items():
        multiplier[asked.preset == name] = preset.multiplier
    return multiplier


def _one_hot(choice: NDArray[np.intp], experts: int) -> Floats:
    return np.asarray(np.eye(experts)[choice])
