"""A streamed chat completion as the events of OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

from serve.dialects.blocks import Block, BlockEvent, BlockStream, Closed, Opened
from serve.dialects.responses_answer import Body, end_of, item_id, item_of, part_of, response_frame
from serve.dialects.responses_request import ResponsesRequest
from serve.dialects.responses_tools import names_in
from serve.dialects.stream_words import Event, Piece

#: By the kind of a block: the events of its text, and the field that holds the whole text at the end.
_TEXTS = {
    "thoughts": ("response.reasoning_text", "text"),
    "text": ("response.output_text", "text"),
    "refusal": ("response.refusal", "refusal"),
    "function": ("response.function_call_arguments", "arguments"),
    "custom": ("response.custom_tool_call_input", "input"),
}


class ResponseEvents:
    """The events of one response; see :class:`~serve.dialects.stream_words.StreamWords`."""

    def __init__(self, asked: ResponsesRequest) -> None:
        self._asked = asked
        self._names = names_in(asked.tools or ())
        self._blocks = BlockStream()
        self._block = Block("text")  # the one that is open
        self._frame: Body | None = None
        self._report: dict[str, Any] = {}
        self._items: list[Body] = []
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._number = 0
        self._has_failed = False

    def read(self, piece: Piece) -> list[Event]:
        """See :class:`StreamWords`."""
        if self._has_failed:
            return []
        self._report |= piece.get("leeroo") or {}
        if "error" in piece:
            return self._fail(piece)
        told = self._begin(piece) if self._frame is None else []
        self._usage = piece.get("usage") or self._usage
        for choice in piece.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            told += self._tell(self._blocks.add(choice.get("delta") or {}), choice.get("logprobs"))
        return told

    def end(self) -> list[Event]:
        """See :class:`StreamWords`."""
        if self._has_failed:
            return []
        told = self._begin({}) if self._frame is None else []
        told += self._tell(self._blocks.end(), None)
        ended = end_of(self._frame or {}, self._items, self._finish, self._usage)
        return [*told, self._event(f"response.{ended['status']}", response=ended | {"leeroo": self._report})]

    def _begin(self, piece: Piece) -> list[Event]:
        self._frame = response_frame(self._asked, piece)
        begun = self._frame | {"leeroo": dict(self._report)}
        return [self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")]

    def _fail(self, piece: Piece) -> list[Event]:
        told = self._begin({}) if self._frame is None else []
        self._has_failed = True
        is_busy = piece["error"].get("type") == "rate_limit_error"
        error = {
            "code": "rate_limit_exceeded" if is_busy else "server_error",
            "message": piece["error"].get("message"),
        }
        failed = (self._frame or {}) | {"status": "failed", "error": error, "output": self._items}
        return [*told, self._event("response.failed", response=failed | {"leeroo": self._report})]

    def _tell(self, events: list[BlockEvent], logprobs: Any) -> list[Event]:
        told: list[Event] = []
        for event in events:
            if isinstance(event, Opened):
                told += self._open(event.at, event.block)
            elif isinstance(event, Closed):
                told += self._close(event.at, event.block)
            else:
                probabilities = (logprobs or {}).get("content") or []
                told.append(self._of_text("delta", event.at, {"delta": event.text}, probabilities))
        return told

    def _open(self, index: int, block: Block) -> list[Event]:
        self._block = block
        its_id = self._id(index, block)
        item = item_of(block, its_id, self._names, "in_progress")
        told = [self._event("response.output_item.added", output_index=index, item=item)]
        if not block.is_call:
            part = {"item_id": its_id, "output_index": index, "content_index": 0, "part": part_of(block)}
            told.append(self._event("response.content_part.added", **part))
        return told

    def _close(self, index: int, block: Block) -> list[Event]:
        its_id = self._id(index, block)
        field = _TEXTS[block.kind][1]
        name = self._names.get(block.name, {}).get("name", block.name)
        named = {"name": name} if block.kind == "function" else {}
        told = [self._of_text("done", index, {field: block.text, **named}, [])]
        if not block.is_call:
            part = {"item_id": its_id, "output_index": index, "content_index": 0, "part": part_of(block)}
            told.append(self._event("response.content_part.done", **part))
        item = item_of(block, its_id, self._names)
        self._items.append(item)
        return [*told, self._event("response.output_item.done", output_index=index, item=item)]

    def _of_text(self, what: str, index: int, fields: dict[str, Any], logprobs: list[Any]) -> Event:
        block = self._block
        place: dict[str, Any] = {"item_id": self._id(index, block), "output_index": index}
        if not block.is_call:
            place["content_index"] = 0
        if block.kind == "text":
            place["logprobs"] = logprobs
        return self._event(f"{_TEXTS[block.kind][0]}.{what}", **place, **fields)

    def _id(self, index: int, block: Block) -> str:
        return item_id((self._frame or {}).get("id", ""), index, block)

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event
