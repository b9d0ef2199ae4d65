"""JSON as upstreams send it: read whatever it holds, passed on only as what every reader takes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import orjson

#: A reply is some ten levels deep; what is deeper is an attack on readers, or a mistake.
DEEPEST = 64
_MOST_DIGITS = 18


class Unbounded(str):
    """A number that no float or integer of 64 bits holds, as it was written: NaN, Infinity, 1e999."""


def read_json(data: bytes | str) -> Any:
    """Return the value of a JSON text; numbers that nothing holds come as :class:`Unbounded`.

    Bytes that are no UTF-8 become U+FFFD, a byte order mark is passed over, the last of equal keys stands.

    Raises:
        ValueError: it is not JSON, it breaks off, or it is nested too deep.
    """
    try:
        return orjson.loads(data)  # what it takes is sound; the rest is looked at with more patience
    except orjson.JSONDecodeError:
        pass
    if isinstance(data, bytes):
        data = data.decode(json.detect_encoding(data), "replace")
    try:
        return json.loads(
            data.lstrip("\ufeff"), parse_constant=Unbounded, parse_int=_read_integer, parse_float=_read_float
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_json(value: Any) -> bytes:
    """Return a value as the bytes of its JSON: null for what is no number, U+FFFD for half characters.

    Raises:
        ValueError: it is nested too deep.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # half a character, a number of more than 64 bits, a key that is no text
        return json.dumps(clean(value), allow_nan=False).encode()


def clean(value: Any, depth: int = DEEPEST, *, hide: Sequence[str] = ()) -> Any:
    """Return a copy without what is no JSON: NaN and infinities become null, half surrogates U+FFFD.

    Args:
        value: of JSON, as :func:`read_json` gives it.
        depth: how deep it may be nested.
        hide: what no text in it may hold, such as the key that an API sends back.

    Raises:
        ValueError: it is nested too deep.
    """
    if depth < 0:
        raise ValueError("nested too deep")
    if isinstance(value, Unbounded):
        return None
    if isinstance(value, str):
        return _hidden(clean_text(value), hide)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            _hidden(clean_text(str(key)), hide): clean(inner, depth - 1, hide=hide)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [clean(inner, depth - 1, hide=hide) for inner in value]
    return value


def _hidden(text: str, hide: Sequence[str]) -> str:
    for secret in hide:
        text = text.replace(secret, "***")
    return text


def clean_text(text: str) -> str:
    """Return a text that UTF-8 can carry: pairs of surrogates are joined, halves become U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _read_integer(digits: str) -> int | float | Unbounded:
    return int(digits) if len(digits) <= _MOST_DIGITS else _read_float(digits)


def _read_float(digits: str) -> float | Unbounded:
    number = float(digits)
    return number if math.isfinite(number) else Unbounded(digits[:40])
