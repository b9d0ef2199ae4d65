"""A streamed answer on its way: every piece goes on at once, the last one once its cost is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from experts.upstream import Failure, FailureKind, Usage
from experts.upstream.shape.choices import written_in as written_in_choice
from serve.experts.client import Body, OpenStream, StreamPiece, WholeAnswer
from serve.request.background import Background

LEAVING_S = 0.25  # in which what has been written for a caller who left is still counted
_SILENCE_S = 0.05


class Incoming:
    """The pieces of a stream, one at a time. Who stops waiting for one does not lose it."""

    def __init__(self, stream: OpenStream, background: Background) -> None:
        self._opening = list(stream.opening)
        self._rest = stream.rest
        self._background = background
        self._coming: asyncio.Task[StreamPiece | Failure | None] | None = None

    async def next(self, timeout_s: float) -> StreamPiece | Failure | None:
        """Return the next piece, or None at the end.

        Raises:
            TimeoutError: it does not come in time.
        """
        if self._opening:
            return self._opening.pop(0)
        if self._coming is None:
            self._coming = self._background.start(self._read())
        done, _ = await asyncio.wait({self._coming}, timeout=max(0.0, timeout_s))
        if not done:
            raise TimeoutError
        task, self._coming = self._coming, None
        if task.cancelled():
            return Failure(FailureKind.BROKEN_CONNECTION, "it broke off")
        return task.result()

    async def close(self) -> None:
        """Stop the work on the stream."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
            self._coming = None
        try:
            await self._rest.aclose()
        except Exception:  # nobody waits for what it still had to say
            return

    async def _read(self) -> StreamPiece | Failure | None:
        try:
            return await anext(self._rest)
        except StopAsyncIteration:
            return None
        except Exception as error:
            return Failure(FailureKind.BROKEN_CONNECTION, f"it broke off ({type(error).__name__})")


@dataclass
class Tally:
    """The parts of a stream that have arrived so far."""

    text: str = ""  # of the first choice
    written: int = 0  # characters of all choices
    usage: Usage | None = None  # as last told or counted
    frame: Body | None = None  # what all pieces have in common
    last: Body | None = None  # held back, to tell the cost
    failure: Failure | None = None  # where the stream broke off
    is_cut: bool = False  # by us, where its caller left, its time was over or its money spent
    is_over: bool = False  # nothing more comes
    is_chat: bool = True
    is_text: bool = True  # and nothing else, of one choice

    def add(self, piece: StreamPiece) -> None:
        """Count a piece."""
        self.usage = piece.usage
        if not piece.body:
            return  # the last word on the token counts
        self.text += text_of(piece.body, "delta")
        self.written += written_in(piece.body, "delta")
        self.is_text = self.is_text and all(map(_is_text, piece.body.get("choices") or ()))
        if self.frame is None:
            self.frame = {name: piece.body.get(name) for name in ("id", "object", "created", "model")}
            self.is_chat = piece.body.get("object") != "text_completion"

    def whole(self) -> WholeAnswer | None:
        """Return the conversation's answer that the pieces make; None where they are not all of one."""
        if self.frame is None or self.last is None or self.usage is None:
            return None
        if not (self.is_chat and self.is_text):
            return None
        reason = finish_of(self.last)
        said = {"index": 0, "message": {"role": "assistant", "content": self.text}, "logprobs": None}
        body = self.frame | {"object": "chat.completion", "choices": [{**said, "finish_reason": reason}]}
        return WholeAnswer(body | {"usage": self.usage.to_openai()}, self.usage)

    def end(self, reason: str | None) -> Body:
        """Return a piece that ends the answer."""
        part: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": ""}
        return (self.frame or {}) | {"choices": [{"index": 0, **part, "finish_reason": reason}]}


def _is_text(choice: Body) -> bool:
    more = (value for name, value in (choice.get("delta") or {}).items() if name not in ("role", "content"))
    return not choice.get("index") and not any(more)


async def relay(
    incoming: Incoming, tally: Tally, ends_at: float, is_beyond: Callable[[], bool]
) -> AsyncGenerator[Body, None]:
    """Yield the pieces that have choices, as they come, but for the last: that one is ``tally.last``.

    A piece that ends a choice waits until the next shows that it was not the last. Pieces without choices
    only count. At ``ends_at``, on the clock of ``time.monotonic``, the stream is broken off; one that has
    gone past its tokens ends as if it had come to the length allowed.
    """
    while True:
        try:
            piece = await incoming.next(ends_at - time.monotonic())
        except TimeoutError:
            tally.is_cut = True
            tally.failure = Failure(
                FailureKind.STALLED, "it took longer than a stream may", in_time_of_caller=True
            )
            return
        if piece is None:
            break
        if isinstance(piece, Failure):
            tally.is_over, tally.failure = True, piece
            return
        tally.add(piece)
        if piece.body.get("choices"):
            if tally.last is not None:
                yield tally.last
                tally.last = None
            telling = {name: value for name, value in piece.body.items() if name != "usage"}
            if any(choice.get("finish_reason") for choice in piece.body["choices"]):
                tally.last = telling
            else:
                yield telling
        if is_beyond():
            tally.is_cut = True
            tally.last = tally.last or tally.end("length")
            return
    tally.is_over = True
    if tally.last is None:  # it never said that it ended
        tally.last = tally.end(None)


async def count_remainder(incoming: Incoming, tally: Tally) -> None:
    """Count what has already been written for a caller who left; then stop the work on it."""
    ends_at = time.monotonic() + LEAVING_S
    tally.is_cut = True
    try:
        while (left_s := ends_at - time.monotonic()) > 0:
            piece = await incoming.next(min(left_s, _SILENCE_S))
            if isinstance(piece, StreamPiece):
                tally.add(piece)
                continue
            tally.is_over = True
            tally.failure = piece
            break
    except TimeoutError:
        pass
    finally:
        await incoming.close()


def text_of(answer: Body, part: str) -> str:
    """Return the text of the first choice of an answer (``message``) or of a piece of one (``delta``)."""
    for choice in answer.get("choices") or ():
        if choice.get("index", 0) == 0:
            content = (choice.get(part) or {}).get("content")
            return content if isinstance(content, str) else ""
    return ""


def finish_of(answer: Body) -> str | None:
    """Return why the first choice of an answer ended; None of an answer without choices."""
    choices = answer.get("choices")
    return choices[0].get("finish_reason") if choices else None


def written_in(answer: Body, part: str) -> int:
    """Return the characters that all choices of an answer, or of a piece of one, hold."""
    return sum(written_in_choice(choice, part) for choice in answer.get("choices") or ())
