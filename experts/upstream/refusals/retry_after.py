"""How long an upstream asks to be left alone, in any vendor's words."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

#: Longer waits are bounded: the expert is tried again after an hour, whatever a header said.
MOST_S = 3600.0

_UNITS_S = {
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_UNIT = "|".join(sorted(_UNITS_S, key=len, reverse=True))
_SPAN = rf"(?:\d{{1,15}}(?:\.\d{{1,9}})?\s?(?:{_UNIT})(?![a-z])[\s,]*)+"
_STEP = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([a-z]+)")
_WHOLE_SPAN = re.compile(rf"^{_SPAN}$")
_SAID = re.compile(
    rf"(?:(?:try again|retry|retrying|wait|available|resets?)(?: again)?(?: after"
    rf"| in| for| at least)?|retry[-_ ]after:?) ({_SPAN})"
)
_KEYS_S = ("retry_after", "retryafter", "retry_after_seconds", "retryafterseconds", "retrydelay")
_KEYS_MS = ("retry_after_ms", "retryafterms", "retry-after-ms")
_IS_RESET = re.compile(r"rate-?limit.*reset|reset.*rate-?limit")
_DEEPEST = 8


def read_retry_after(
    headers: Mapping[str, str], content: Any, words: str, now_s: float | None = None
) -> float | None:
    """Return the seconds to wait, 0 to :data:`MOST_S`, or None where nothing readable is said.

    ``Retry-After-Ms`` and ``Retry-After`` (seconds or a date) come first, then what the body says
    (``google.rpc.RetryInfo``, ``retry_after``, "try again in 20s"), then the headers that name a reset
    (a span such as ``1m30s``, seconds, seconds or milliseconds since 1970, an ISO date): of those limits that
    have nothing left the longest.

    Args:
        headers: of the reply.
        content: its body, as far as it is JSON.
        words: the message in it, in small letters.
        now_s: seconds since 1970; the clock's when not given.
    """
    now_s = time.time() if now_s is None else now_s
    small = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    candidates = (
        _milliseconds(small.get("retry-after-ms")),
        _moment(small.get("retry-after"), now_s),
        _of_body(content, now_s),
        _of_words(words),
        _of_resets(small, now_s),
    )
    return next((min(wait_s, MOST_S) for wait_s in candidates if wait_s is not None), None)


def _of_resets(headers: Mapping[str, str], now_s: float) -> float | None:
    spent, all_of_them = [], []
    for name, value in headers.items():
        if not _IS_RESET.search(name) or (wait_s := _moment(value, now_s)) is None:
            continue
        all_of_them.append(wait_s)
        if (left := _number(headers.get(name.replace("reset", "remaining")))) is not None and left <= 0:
            spent.append(wait_s)
    return max(spent) if spent else min(all_of_them, default=None)


def _of_body(content: Any, now_s: float) -> float | None:
    for name, value in _pairs(content, _DEEPEST):
        small = name.lower()
        if small in _KEYS_MS:
            found = _milliseconds(value)
        elif small in _KEYS_S or small == "retry-after":
            if isinstance(value, dict):  # a protobuf duration
                value = value.get("seconds")
            found = _moment(value, now_s)
        elif _IS_RESET.search(small):
            found = _moment(value, now_s)
        else:
            continue
        if found is not None:
            return found
    return None


def _of_words(words: str) -> float | None:
    said = _SAID.search(words[:2000])
    return _span(said[1]) if said else None


def _pairs(content: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth < 0:
        return
    if isinstance(content, dict):
        for name, value in content.items():
            yield str(name), value
            yield from _pairs(value, depth - 1)
    elif isinstance(content, list):
        for inner in content[:20]:
            yield from _pairs(inner, depth - 1)


def _moment(value: Any, now_s: float) -> float | None:
    """Return the seconds until a moment: a number, a span, an ISO date or one of HTTP's."""
    if (number := _number(value)) is not None:
        return _until(number, now_s)
    if not isinstance(value, str) or len(value) > 100:
        return None
    if (wait_s := _span(value)) is not None:
        return wait_s
    try:
        at = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def _until(number: float, now_s: float) -> float | None:
    """Read a bare number: since 1970, in milliseconds or seconds, where it is near today; else a span."""
    if number < 0:
        return None
    for unit_s in (1e-3, 1.0):
        if abs(number * unit_s - now_s) < 400 * 86_400:
            return max(0.0, number * unit_s - now_s)
    return number


def _span(text: str) -> float | None:
    text = text.strip().lower()
    if not _WHOLE_SPAN.match(text):
        return None
    return math.fsum(float(count) * _UNITS_S[unit] for count, unit in _STEP.findall(text))


def _milliseconds(value: Any) -> float | None:
    number = _number(value)
    return None if number is None or number < 0 else number / 1e3


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > 40:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
