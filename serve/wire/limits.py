"""Bounds of numbers and names that requests and keys may give. Light: the ledger and the commands read it."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

SHORTEST_LATENCY_S = 0.1  # that may be asked for an answer
MOST_EXPERTS_ASKED = 100
_DAY_S = 86_400
MOST_NAME_CHARACTERS = 200
MOST_NAMES = 100  # of experts, models, networks... in one list
_UNSHOWN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, half characters, breaks of lines and paragraphs
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the direction of a text


class Bound(NamedTuple):
    """The least and the most that a setting may be, both included."""

    least: float
    most: float
    is_whole: bool = True

    @property
    def told(self) -> str:
        """What to do, for messages."""
        kind = "a whole number, " if self.is_whole else ""
        return f"give {kind}{self.least:,g} to {format(self.most, ',.15g')}"


#: Every number among the settings of keys and teams; of ``alert_at``, each of its numbers.
BOUNDS = {
    "budget_usd": Bound(0, 1_000_000, is_whole=False),
    "requests_per_minute": Bound(1, 1_000_000),
    "paced_over": Bound(1, 1_000_000_000),
    "max_experts_asked": Bound(1, MOST_EXPERTS_ASKED),
    "max_latency_s": Bound(SHORTEST_LATENCY_S, _DAY_S, is_whole=False),
    "explore_share": Bound(0, 1, is_whole=False),
    "explore_usd_per_day": Bound(0, 1_000_000, is_whole=False),
    "alert_at": Bound(1, 100),
    "grace_s": Bound(0, 90 * _DAY_S, is_whole=False),
}


def fault_of_number(name: str, value: Any) -> str | None:
    """Return why a value cannot be that setting; None if it can.

    >>> fault_of_number("explore_share", 2), fault_of_number("explore_share", 0.5)
    ('explore_share cannot be 2', None)
    """
    bound = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{name} is no number"
    if not bound.least <= value <= bound.most:  # nan is not
        return f"{name} cannot be {_told(value)}"
    if bound.is_whole and value != int(value):
        return f"{name} cannot be {value:g}"
    return None


def within_bounds(name: str, value: Any) -> Any:
    """Return a number that was kept before there were bounds as near to it as they are; None stays."""
    if value is None:
        return None
    bound = BOUNDS[name]
    nearest = min(max(value, bound.least), bound.most)
    return int(nearest) if bound.is_whole else nearest


def fault_of_name(name: Any) -> str | None:
    """Return why something cannot be the name of anything; None if it can.

    >>> fault_of_name("ann"), fault_of_name("a\\nb")
    (None, 'it holds a line break or another character that is not shown')
    """
    if not isinstance(name, str) or not name.strip():
        return "it is empty"
    if name != name.strip():
        return "it begins or ends with a space"
    if len(name) > MOST_NAME_CHARACTERS:
        return f"it has {len(name)} characters, and may have {MOST_NAME_CHARACTERS}"
    if any(one in _TURNING or unicodedata.category(one) in _UNSHOWN for one in name):
        return "it holds a line break or another character that is not shown"
    return None


def _told(value: float) -> str:
    try:
        return f"{value:.15g}"
    except OverflowError:
        return "a number of so many digits"
