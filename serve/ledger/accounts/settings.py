"""The settings of keys and teams: what may be given, how it is checked, and the columns that keep it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from serve.ledger.messages import Period
from serve.ledger.periods import PERIODS
from serve.ledger.picodollars import PICO_PER_USD
from serve.wire.addresses import Network, read_network
from serve.wire.dialects import DIALECT_PATHS
from serve.wire.limits import BOUNDS, MOST_NAMES, fault_of_name, fault_of_number
from serve.wire.recording import RECORDINGS, Recording
from warehouse import InputError

_ID = re.compile(r"(key|team)-[0-9a-f]{12}")
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
        elif name in {"operator", "admin"} or (
            name in BOUNDS and BOUNDS[name].is_whole and value is not None
        ):
            found[name] = int(value)
        else:
            found[name] = value
    return found


def check_number(where: str, name: str, value: Any) -> None:
    """Refuse a number that is out of bounds for a setting of keys and teams, wherever it comes from.

    Raises:
        InputError: it is, or it is none.
    """
    if what := fault_of_number(name, value):
        raise InputError(what, where=where, fix=BOUNDS[name].told)


def check_name(where: str, name: Any) -> None:
    """Refuse a name of a key or a team that cannot be told or typed, or that looks like the id of another.

    Raises:
        InputError: it is such a name.
    """
    fix = "give a name in one line, such as ann or research"
    if what := fault_of_name(name):
        raise InputError(f"this cannot be a name: {what}", where=where, fix=fix)
    if _ID.fullmatch(name):
        raise InputError("this cannot be a name: ids look like it", where=where, fix=fix)


def check_pace(where: str, budget: int | None, paced_over: int | None) -> None:
    """Refuse a pace without a budget to spread.

    Raises:
        InputError: there is none.
    """
    if paced_over is not None and budget is None:
        told = f"no budget cannot be spread over {paced_over} requests"
        raise InputError(told, where=where, fix="give a budget, or no pace")


def _network(told: str, where: str) -> Network:
    try:
        return read_network(told)
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
    if name in BOUNDS:
        for one in value if name == "alert_at" else [value]:
            check_number(where, name, one)
    elif name == "period" and value not in PERIODS:
        what, fix = f"{value!r} is no period", f"give {', '.join(PERIODS)}"
    elif name == "record" and value not in RECORDINGS:
        what, fix = f"{value!r} does not say what is recorded", f"give {', '.join(RECORDINGS)}"
    elif name == "expires_at" and not time.time() < value:
        what, fix = "it would have expired already", "give a time to come, or revoke the key"
    elif name == "expires_at" and value > _END_OF_TIME:
        what, fix = "expires_at lies beyond the year 9999", "give an earlier time, or none"
    elif name == "preset" and (fault := fault_of_name(value)):
        what, fix = f"this cannot be a preset: {fault}", "give one that the router has, such as economy"
    elif name in _LISTS and not value:
        what = f"an empty list of {name} would let nobody in, and is no limit either"
        fix = "name some, or take the limit away (null, or --clear)"
    elif name in _LISTS and len(value) > MOST_NAMES:
        what, fix = f"{len(value)} {name} are too many", f"give at most {MOST_NAMES}"
    elif name in {"experts", "models"} and (fault := next(filter(None, map(fault_of_name, value)), None)):
        what, fix = f"one of {name} cannot be a name: {fault}", "leave it out, or write it in one line"
    elif name == "dialects" and (unknown := set(value) - set(DIALECT_PATHS)):
        what, fix = f"{min(unknown)!r} is no dialect", f"give {', '.join(DIALECT_PATHS)}"
    if what:
        raise InputError(what, where=where, fix=fix)
