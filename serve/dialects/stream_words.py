"""What a dialect makes of a streamed chat completion: its own events, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Event = dict[str, Any]  # its ``type`` is the name of the event
Piece = Mapping[
    str, Any
]  # of a chat completion; or ``{"error": ...}``, the last one of a stream that broke off


class StreamWords(Protocol):
    """The state of one stream. An error ends it: what comes later adds nothing."""

    def read(self, piece: Piece) -> list[Event]:
        """Return the events that a piece of the chat completion comes to."""
        ...

    def end(self) -> list[Event]:
        """Return the events that end the stream."""
        ...
