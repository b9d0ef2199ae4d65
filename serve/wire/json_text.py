"""JSON as it goes over the wire: read once, written once, by orjson; and what is refused as no JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from serve.wire.api_errors import ApiError


def read_json(content: bytes) -> Any:
    """Return what a body holds.

    What orjson takes is JSON. What it does not is looked at again by Python's reader, which takes more
    (numbers of any length, UTF-16) and tells what is wrong.

    Raises:
        NotJsonError: it is none, or Python's reader takes for a value what is none.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):  # Python's reader goes as deep as its process happens to allow
            raise _no_json("it is nested too deep") from None
    try:
        value = json.loads(content)
    except RecursionError:
        raise _no_json("it is nested too deep") from None
    except ValueError as error:  # of its letters too: UnicodeDecodeError is one
        raise _no_json(str(error)) from None
    if (place := _find_no_json(value)) is not None:
        raise NotJsonError(value, place)
    return value


class NotJsonError(Exception):
    """A value that Python's reader takes, and no other need.

    Attributes:
        value: what was read.
        place: the keys and positions that lead to what is no JSON: half a character, or a number without a
            value.
    """

    def __init__(self, value: Any, place: tuple[str | int, ...]) -> None:
        super().__init__(".".join(map(str, place)))
        self.value = value
        self.place = place

    def refusal(self) -> ApiError:
        """Return the error that names the place."""
        is_content = len(self.place) >= 3 and self.place[0] == "messages" and self.place[2] == "content"
        told = "not JSON: a number without a value, or half a character"
        if is_content:
            param = ".".join(map(str, self.place[:3]))
            return ApiError(400, f"{told} (field {param})", param=param, code="invalid_request")
        field = repr(self.place[0]) if self.place else "the body"
        return ApiError(400, f"{field} is {told}", code="invalid_request")


def write_json(value: Any) -> bytes:
    """Return a value as JSON, without blanks: a number without a value is null, half a character a ``?``."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a number of more than 64 bits, half a character, 254 lists in each other
        return json.dumps(_as_json(value), separators=(",", ":")).encode()


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {_as_json(str(key)): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_json(why: str) -> ApiError:
    return ApiError(400, f"the body is no JSON: {why}", code="invalid_request")


def _find_no_json(value: Any) -> tuple[str | int, ...] | None:
    """Return the place of the first number without a value or cut character, else None."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        place, one = waiting.pop()
        if (isinstance(one, float) and not math.isfinite(one)) or (isinstance(one, str) and _is_cut(one)):
            return place
        if isinstance(one, dict):
            for key in one:
                if _is_cut(key):
                    return (*place, key)
            waiting += [((*place, key), inner) for key, inner in reversed(one.items())]
        elif isinstance(one, list):
            waiting += [((*place, index), inner) for index, inner in reversed(list(enumerate(one)))]
    return None


def _is_cut(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
