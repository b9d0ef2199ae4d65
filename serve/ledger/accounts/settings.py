"""The settings of keys and teams: what may be given, how it is checked, and the columns that keep it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypedDict

from serve.ledger.messages import Period
from serve.ledger.periods import PERIODS
from serve.ledger.picodollars import PICO_PER_USD
from serve.wire.dialects import DIALECT_PATHS
from serve.wire.limits import SHORTEST_LATENCY_S
from serve.wire.recording import RECORDINGS, Recording
from warehouse import InputError

MOST_BUDGET_USD = 1_000_000.0
_END_OF_TIME = 253_402_300_799.0  # the year 9999


class TeamSettings(TypedDict, total=False):
    """What a team may have; what is left out stays as it is, None takes a limit away."""

    budget_usd: float | None
    period: Period
    parent: str | None  # name or id of the team that it lies in
    alert_at: Sequence[int] | None  # percent of its budget; None for 50, 80 and 100


class KeySettings(TypedDict, total=False):
    """What a key may have; what is left out stays as it is, None takes a limit away."""

    budget_usd: float | None
    period: Period
    team: str | None  # name or id
    requests_per_minute: int | None
    experts: Sequence[str] | None
    preset: str | None
    paced_over: int | None
    max_experts_asked: int | None
    max_latency_s: float | None
    record: Recording | None
    explore_share: float | None
    explore_usd_per_day: float | None
    operator: bool
    admin: bool  # only where a key is made
    expires_at: float | None  # seconds since 1970
    models: Sequence[str] | None
    dialects: Sequence[str] | None
    networks: Sequence[str] | None
    alert_at: Sequence[int] | None  # percent of its budget; None for 50, 80 and 100


_LISTS = {"experts", "models", "dialects", "networks"}


def columns_of(where: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of settings that stand for themselves; who lies in which team is found elsewhere.

    Args:
        where: the key or team that they are of, for messages.
        told: a :class:`KeySettings` or :class:`TeamSettings`.

    Raises:
        InputError: a setting is none.
    """
    found: dict[str, Any] = {}
    for name, value in told.items():
        if name in {"team", "parent"}:
            continue
        _check(name, value, where)
        if name == "budget_usd":
            found["budget"] = None if value is None else round(value * PICO_PER_USD)
        elif name == "networks":
            found[name] = None if value is None else json.dumps([str(_network(one, where)) for one in value])
        elif name == "alert_at":
            found[name] = None if value is None else json.dumps(sorted(set(value)))
        elif name in _LISTS:
            found[name] = None if value is None else json.dumps(list(value))
        elif name in {"operator", "admin"}:
            found[name] = int(value)
        else:
            found[name] = value
    return found


def check_pace(where: str, budget: int | None, paced_over: int | None) -> None:
    """Refuse a pace without a budget to spread.

    Raises:
        InputError: there is none, or it is spread over nothing.
    """
    if paced_over is not None and (budget is None or paced_over < 1):
        told = "no budget" if budget is None else f"{budget / PICO_PER_USD:g} USD"
        raise InputError(
            f"{told} cannot be spread over {paced_over} requests",
            where=where,
            fix="give a budget and 1 request or more",
        )


def _network(told: str, where: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(told.strip(), strict=False)
    except ValueError:
        raise InputError(
            f"{told!r} is no network", where=where, fix="write CIDR, such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None


def _check(name: str, value: Any, where: str) -> None:
    if value is None:
        if name == "period":
            raise InputError("a budget has a period", where=where, fix=f"give {', '.join(PERIODS)}")
        return
    what = fix = ""
    if name == "budget_usd" and not 0 <= value <= MOST_BUDGET_USD:
        what = f"{value:g} USD cannot be a budget"
        fix = f"give 0 to {MOST_BUDGET_USD:,.0f}, or none for a key without a limit"
    elif name == "period" and value not in PERIODS:
        what, fix = f"{value!r} is no period", f"give {', '.join(PERIODS)}"
    elif name == "requests_per_minute" and value < 1:
        what = f"{value} requests a minute cannot be a limit"
        fix = "give 1 or more, or none for a key without a limit"
    elif name == "max_experts_asked" and value < 1:
        what, fix = f"{value} experts cannot answer", "give 1 or more"
    elif name == "max_latency_s" and not SHORTEST_LATENCY_S <= value < float("inf"):
        what, fix = f"{value:g} s cannot be the time for an answer", f"give {SHORTEST_LATENCY_S:g} or more"
    elif name == "record" and value not in RECORDINGS:
        what, fix = f"{value!r} does not say what is recorded", f"give {', '.join(RECORDINGS)}"
    elif name == "explore_share" and not 0 <= value <= 1:
        what = f"{value:g} is no share of the requests to explore on"
        fix = "give 0 (never) to 1 (all of them)"
    elif name == "explore_usd_per_day" and not 0 <= value <= MOST_BUDGET_USD:
        what = f"{value:g} USD cannot be what exploring may cost a day"
        fix = f"give 0 to {MOST_BUDGET_USD:,.0f}"
    elif name == "expires_at" and not time.time() < value < _END_OF_TIME:
        what, fix = (
            "it would have expired already",
            "give a time to come, or revoke the key",
        )
    elif name == "alert_at" and not all(isinstance(one, int) and 1 <= one <= 100 for one in value):
        what, fix = (
            f"{', '.join(map(str, value))} are no percents of a budget",
            "give whole numbers, 1 to 100",
        )
    elif name in _LISTS and not value:
        what = f"an empty list of {name} would let nobody in, and is no limit either"
        fix = "name some, or take the limit away (null, or --clear)"
    elif name == "dialects" and (unknown := set(value) - set(DIALECT_PATHS)):
        what, fix = f"{min(unknown)!r} is no dialect", f"give {', '.join(DIALECT_PATHS)}"
    elif name in _LISTS and not all(isinstance(one, str) and one.strip() for one in value):
        what, fix = f"a name among {name} is empty", "leave it out"
    if what:
        raise InputError(what, where=where, fix=fix)
