"""Server-sent events, split anywhere and worded oddly, as the JSON objects in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from experts.upstream.shape.json_text import read_json

_MOST_BYTES = 16 << 20  # of one event; a reader that waits for its end would fill the memory
_MOST_STRAY = 1 << 20
_MOST_TRIES = 32  # lines of an object after each of which it may be whole; beyond, its event's end tells
_LINE_END = re.compile(rb"[\r\n]")


@dataclass(frozen=True)
class Event:
    """One event: its object, or that the stream is done, or that it is broken; ``name`` is its ``event:``."""

    content: Any = None
    name: str = ""
    is_done: bool = False
    is_broken: bool = False


class EventReader:
    """Takes bytes, split anywhere; gives events.

    Comments, pings, empty data lines and data that is no JSON (keep-alives) are passed over. Data that begins
    an object and does not end it is broken: words would be lost. An object may stretch over several data
    lines, and events need no empty line between them.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked = 0  # bytes of the buffer that hold no line's end
        self._is_first = True
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self.stray = bytearray()  # lines that belong to no event, as of a body that is no stream

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        self._buffer += data
        events: list[Event] = []
        while (line := self._next_line()) is not None:
            events += self._read_line(line)
        if len(self._buffer) + self._size > _MOST_BYTES:
            self._buffer.clear()
            self._looked = 0
            events.append(Event(is_broken=True))
        return events

    def end(self) -> list[Event]:
        """Return what the last bytes held, where no line's end came after them."""
        rest = bytes(self._buffer.rstrip(b"\r"))
        self._buffer.clear()
        self._looked = 0
        events = self._read_line(rest) if rest else []
        return events + self._dispatch()

    def _next_line(self) -> bytes | None:
        buffer = self._buffer
        if (end := _LINE_END.search(buffer, self._looked)) is None:
            self._looked = len(buffer)
            return None
        at = end.start()
        if buffer[at] == 13 and at + 1 == len(buffer):
            self._looked = at  # a line feed may follow
            return None
        line = bytes(buffer[:at])
        del buffer[: at + (2 if buffer[at : at + 2] == b"\r\n" else 1)]
        self._looked = 0
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _read_line(self, line: bytes) -> list[Event]:
        if not line.strip():
            return self._dispatch()
        if line.startswith(b":"):
            return []
        field, colon, value = line.partition(b":")
        field = field.strip().lower()
        if field == b"event" and colon:
            events = self._dispatch()
            self._name = value.strip().decode("utf-8", "replace").lower()
            return events
        if field in (b"id", b"retry") and colon:
            return []
        if field == b"error" and colon:
            return [*self._dispatch(), *self._read_whole(value, "error")]
        if field != b"data" or not colon:
            if len(self.stray) < _MOST_STRAY:
                self.stray += line + b"\n"
            return []
        if self._data:
            self._data.append(value)
            self._size += len(value)
            if len(self._data) > _MOST_TRIES or (found := _parse(b"\n".join(self._data), self._name)) is None:
                return []
            self._forget()
            return [found]
        found = _parse(value, self._name)
        if found is not None:
            self._name_is_used(found)
            return [found]
        if value.strip()[:1] in (b"{", b"["):
            self._data = [value]
            self._size = len(value)
        return []

    def _read_whole(self, value: bytes, name: str) -> list[Event]:
        found = _parse(value, name)
        return [found or Event({"error": value.strip().decode("utf-8", "replace")[:500]}, name)]

    def _dispatch(self) -> list[Event]:
        """End an event: what was collected and is no JSON by now is broken off."""
        collected = (
            [_parse(b"\n".join(self._data), self._name) or Event(is_broken=True)] if self._data else []
        )
        self._forget()
        self._name = ""
        return collected

    def _forget(self) -> None:
        self._data, self._size = [], 0

    def _name_is_used(self, found: Event) -> None:
        if found.is_done:
            self._name = ""


def _parse(value: bytes, name: str = "") -> Event | None:
    value = value.strip()
    if value in (b"[DONE]", b'"[DONE]"', b"DONE", b"[done]"):
        return Event(is_done=True)
    if value[:1] not in (b"{", b"["):
        return None
    try:
        content = read_json(value)
    except ValueError:
        return None
    if isinstance(content, list):
        content = next((one for one in content if isinstance(one, dict)), {})
    return Event(content, name)
