"""A streamed chat completion as the events of Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

from serve.dialects.blocks import Block, BlockEvent, BlockStream, Closed, Opened
from serve.dialects.messages_answer import content_of, message_frame, stop_of, usage_of
from serve.dialects.messages_errors import type_of
from serve.dialects.messages_request import MessagesRequest
from serve.dialects.stream_words import Event, Piece

#: By the kind of a block: the type of a piece of it, and the field that holds it.
_DELTAS = {
    "thoughts": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "function": ("input_json_delta", "partial_json"),
    "custom": ("input_json_delta", "partial_json"),
}


class MessageEvents:
    """The events of one message; see :class:`~serve.dialects.stream_words.StreamWords`."""

    def __init__(self, asked: MessagesRequest) -> None:
        self._asked = asked
        self._blocks = BlockStream()
        self._block = Block("text")  # the one that is open
        self._kinds: set[str] = set()
        self._last: dict[str, Any] = {}  # the choice that said why it ended
        self._usage: dict[str, Any] | None = None
        self._report: dict[str, Any] = {}
        self._has_begun = self._has_failed = False

    def read(self, piece: Piece) -> list[Event]:
        """See :class:`StreamWords`."""
        if self._has_failed:
            return []
        if "error" in piece:
            self._has_failed = True
            error = piece["error"]
            return [{"type": "error", "error": {"type": type_of(error), "message": error.get("message")}}]
        told = [] if self._has_begun else self._begin(piece)
        self._report |= piece.get("leeroo") or {}
        self._usage = piece.get("usage") or self._usage
        for choice in piece.get("choices") or ():
            self._last = choice if choice.get("finish_reason") else self._last
            told += self._tell(self._blocks.add(choice.get("delta") or {}))
        return told

    def end(self) -> list[Event]:
        """See :class:`StreamWords`."""
        if self._has_failed:
            return []
        told = [] if self._has_begun else self._begin({})
        told += self._tell(self._blocks.end())
        delta = {"type": "message_delta", "delta": stop_of(self._asked, self._last, self._kinds)}
        return [
            *told,
            {**delta, "usage": usage_of(self._usage), "leeroo": self._report},
            {"type": "message_stop"},
        ]

    def _begin(self, piece: Piece) -> list[Event]:
        self._has_begun = True
        message = message_frame(piece) | {"leeroo": piece.get("leeroo") or {}}
        return [{"type": "message_start", "message": message}]

    def _tell(self, events: list[BlockEvent]) -> list[Event]:
        told: list[Event] = []
        for event in events:
            if isinstance(event, Opened):
                self._block = event.block
                self._kinds.add(event.block.kind)
                empty = content_of(event.block) | ({"input": {}} if event.block.is_call else {})
                told.append({"type": "content_block_start", "index": event.at, "content_block": empty})
            elif isinstance(event, Closed):
                told.append({"type": "content_block_stop", "index": event.at})
            else:
                kind, field = _DELTAS[self._block.kind]
                delta = {"type": kind, field: event.text}
                told.append({"type": "content_block_delta", "index": event.at, "delta": delta})
        return told
