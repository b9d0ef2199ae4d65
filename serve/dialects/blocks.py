"""What an answer says, as blocks one after the other: the form that other dialects make of a chat completion.

A chat completion has one message whose thoughts, text and calls stand side by side, and its stream may mix
their pieces. The Responses API and Anthropic's Messages API have lists of blocks, each of which ends before
the next begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["thoughts", "text", "refusal", "function", "custom"]

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # vendors differ; told twice, they count once
_CALLS = ("function", "custom")


class Block(NamedTuple):
    """One block of an answer.

    Attributes:
        kind: what it is; ``function`` and ``custom`` are calls of tools.
        text: what it says; of a call its arguments, or its input.
        call_id: of a call.
        name: of the tool that is called.
    """

    kind: Kind
    text: str = ""
    call_id: str = ""
    name: str = ""

    @property
    def is_call(self) -> bool:
        """Whether it calls a tool."""
        return self.kind in _CALLS


class Opened(NamedTuple):
    """A block begins; its text is still to come."""

    at: int
    block: Block


class Written(NamedTuple):
    """A piece of the text of the block that is open."""

    at: int
    text: str


class Closed(NamedTuple):
    """A block has ended; here it is whole."""

    at: int
    block: Block


BlockEvent = Opened | Written | Closed


def blocks_of(message: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a whole message, as :class:`BlockStream` would of its pieces."""
    stream = BlockStream()
    told = [*stream.add(message), *stream.end()]
    return [event.block for event in told if isinstance(event, Closed)]


@dataclass
class _Growing:
    """A block on its way; what came of it is joined once."""

    begun: Block
    pieces: list[str]

    def whole(self) -> Block:
        return self.begun._replace(text="".join(self.pieces))


@dataclass
class BlockStream:
    """Puts the pieces of a message into blocks, one after the other, whatever order they come in.

    The pieces of one block are passed on at once. A text or thoughts end when something else begins. A call
    does not end before the message does: pieces of several calls may be mixed, so the first call is passed on
    as it comes, and what comes of others meanwhile waits for the end.
    """

    _open: tuple[str, int] | None = None
    _begun: dict[tuple[str, int], _Growing] = field(default_factory=dict)  # the open one, and those that wait
    _count: int = 0

    def add(self, delta: Mapping[str, Any]) -> list[BlockEvent]:
        """Return what a piece of a message, or a whole one, adds."""
        told: list[BlockEvent] = []
        thoughts = next((text for name in _THOUGHTS if (text := _text(delta.get(name)))), "")
        told += self._write(("thoughts", 0), Block("thoughts", thoughts))
        told += self._write(("text", 0), Block("text", _text(delta.get("content"))))
        told += self._write(("refusal", 0), Block("refusal", _text(delta.get("refusal"))))
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                index = call.get("index", position)
                told += self._write(("call", index if isinstance(index, int) else position), _call(call))
        return told

    def end(self) -> list[BlockEvent]:
        """Return the end of the block that is open, and the calls that waited."""
        told = self._close()
        for key, waiting in list(self._begun.items()):
            told += [*self._begin(key, waiting.whole()), *self._close()]
        return told

    def _write(self, key: tuple[str, int], piece: Block) -> list[BlockEvent]:
        if not (piece.text or piece.is_call):
            return []
        if self._open is not None and (self._open == key or self._open[0] == "call"):
            self._begun.setdefault(key, _Growing(piece, [])).pieces.append(piece.text)
            return [Written(self._count, piece.text)] if piece.text and self._open == key else []
        return [*self._close(), *self._begin(key, piece)]

    def _begin(self, key: tuple[str, int], block: Block) -> list[BlockEvent]:
        self._open, self._begun[key] = key, _Growing(block, [block.text])
        opened = Opened(self._count, block._replace(text=""))
        return [opened, Written(self._count, block.text)] if block.text else [opened]

    def _close(self) -> list[BlockEvent]:
        if self._open is None:
            return []
        closed = Closed(self._count, self._begun.pop(self._open).whole())
        self._open = None
        self._count += 1
        return [closed]


def _call(call: Mapping[str, Any]) -> Block:
    kind: Kind = "custom" if "custom" in call else "function"
    inner = call.get(kind)
    inner = inner if isinstance(inner, dict) else {}
    text = inner.get("input" if kind == "custom" else "arguments")
    return Block(kind, _text(text), _text(call.get("id")), _text(inner.get("name")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
