"""Who may do what: the one place where a request is let in or refused for what its key may not.

All dialects come through here: at the door by the path and the address, before a body is read, and once
the model is known. Which experts may answer is in :mod:`serve.request.candidates.permissions`.
"""

from __future__ import annotations

from functools import lru_cache

from serve.ledger.messages import Caller
from serve.wire.addresses import Address, Network, read_network
from serve.wire.api_errors import ApiError
from serve.wire.constraints import Constraints
from serve.wire.dialects import dialect_of

ADMIN_PATHS = "/v1/admin/"


def check_door(caller: Caller, path: str, address: Address | None) -> None:
    """Refuse what a key may not, by what is known of a request before it is read.

    Args:
        caller: whose request it is.
        path: of the request.
        address: of the client; None where it is not known.

    Raises:
        ApiError: 403, the key is not for this dialect, or not to be used from there.
    """
    if caller.networks is not None and not any(
        address is not None and address in _network(told) for told in caller.networks
    ):
        told = "an address that cannot be known" if address is None else f"the address {address}"
        raise ApiError(403, f"this key may not be used from {told}", code="address_not_allowed")
    if caller.is_admin != path.startswith(ADMIN_PATHS):
        told = "this key manages keys and teams, and may do nothing else"
        if not caller.is_admin:
            told = "only an admin's key may do this (`leeroo keys create NAME --admin`)"
        raise ApiError(403, told, code="admins_only")
    dialect = dialect_of(path)
    if caller.dialects is not None and dialect is not None and dialect not in caller.dialects:
        raise ApiError(
            403,
            f"this key is not for {path} ({dialect}); it is for {', '.join(caller.dialects)}",
            code="dialect_not_allowed",
        )


def check_model(caller: Caller, model: str, wanted: Constraints, *, named_in: str = "model") -> None:
    """Refuse a name that a key may not give, and where its names are limited, what else says who answers.

    Args:
        caller: whose request it is.
        model: the name, or what a request without one stands for.
        wanted: of the request: each of these would make another choice out of a name.
        named_in: the field that has the name.

    Raises:
        ApiError: 403.
    """
    if caller.models is None:
        return
    if model not in caller.models:
        told = f"this key is not for model {model!r}; it is for {', '.join(caller.models)}"
        raise ApiError(403, told, param=named_in, code="model_not_allowed")
    for name in Constraints.model_fields:
        if getattr(wanted, name) is not None:
            told = f"this key is limited to model names, which say who answers; leave {name} out"
            raise ApiError(403, told, param=name, code="model_not_allowed")


@lru_cache(maxsize=4096)
def _network(told: str) -> Network:
    return read_network(told)
