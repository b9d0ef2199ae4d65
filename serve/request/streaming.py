"""A streamed answer on its way: every piece goes on at once, the last one once its cost is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from serve.experts.handle import Answer, OpenStream
from serve.wire.api_errors import ExpertFailure


@dataclass
class Tally:
    """What has come of a stream so far."""

    pieces: int = 0
    text: str = ""  # of the first choice
    usage: dict[str, Any] | None = None  # as last told
    last: Answer | None = None  # held back, to tell the cost
    failure: ExpertFailure | None = None  # where the stream broke off

    def add(self, piece: Answer) -> None:
        """Count a piece."""
        self.pieces += 1
        self.text += text_of(piece, "delta")
        self.usage = piece.get("usage") or self.usage


async def relay(stream: OpenStream, tally: Tally, ends_at: float) -> AsyncGenerator[Answer, None]:
    """Yield the pieces that have choices, as they come, but for the last: that one is ``tally.last``.

    A piece that ends a choice waits until the next shows that it was not the last. Pieces without choices
    only count. At ``ends_at``, on the clock of ``time.monotonic``, the stream is broken off.
    """
    async for piece in _until(stream, ends_at):
        if isinstance(piece, ExpertFailure):
            tally.failure = piece
            return
        tally.add(piece)
        if not piece.get("choices"):
            continue
        if tally.last is not None:
            yield tally.last
            tally.last = None
        telling = {name: value for name, value in piece.items() if name != "usage"}
        if any(choice.get("finish_reason") for choice in piece["choices"]):
            tally.last = telling
        else:
            yield telling
    if tally.last is None:  # it never said that it ended
        part: dict[str, Any] = (
            {"delta": {}} if stream.first.get("object") == "chat.completion.chunk" else {"text": ""}
        )
        tally.last = frame(stream.first) | {"choices": [{"index": 0, **part, "finish_reason": None}]}


def frame(piece: Answer) -> Answer:
    """Return what all pieces of a stream have in common."""
    return {name: piece.get(name) for name in ("id", "object", "created", "model")}


def text_of(answer: Answer, part: str) -> str:
    """Return the text of the first choice of an answer (``message``) or of a piece of one (``delta``)."""
    choices = answer.get("choices") or [{}]
    return str((choices[0].get(part) or {}).get("content") or "")


async def _until(stream: OpenStream, ends_at: float) -> AsyncGenerator[Answer | ExpertFailure, None]:
    yield stream.first
    rest = aiter(stream.rest)
    while (left_s := ends_at - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                piece = await anext(rest)
        except StopAsyncIteration:
            return
        except TimeoutError:
            break
        yield piece
    yield ExpertFailure(408, "it took longer than a stream may")
