"""The gateway's interface to an expert, wherever it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from experts import ExpertSpec
from experts.upstream import Ask, Failure, FailureKind, Usage

Body = dict[str, Any]  # a completion, or one piece of a streamed one, in OpenAI's shape


@dataclass(frozen=True)
class WholeAnswer:
    """An answer in one piece."""

    body: Body
    usage: Usage


@dataclass(frozen=True)
class StreamPiece:
    """One piece of a streamed answer.

    Attributes:
        body: the piece, in OpenAI's shape.
        shows: whether it holds content, so that its reader has seen something.
        usage: the tokens of the answer up to and with this piece: told, else counted.
    """

    body: Body
    shows: bool
    usage: Usage


@dataclass(frozen=True)
class OpenStream:
    """A stream that has shown something, or has ended as an answer may: it can no longer be replaced."""

    opening: tuple[StreamPiece, ...]
    rest: Rest


class Rest(Protocol):
    """The pieces of a stream that are still to come; closed, it stops the work on them."""

    async def __anext__(self) -> StreamPiece | Failure: ...
    async def aclose(self) -> None: ...  # noqa: D102


class ExpertClient(Protocol):
    """What the gateway needs of an expert. Cancelling a call stops the work on it.

    Attributes:
        spec: the expert.
        at_once: how many requests this process may send it at once; None where its deployment sees to that.
    """

    spec: ExpertSpec
    at_once: int | None

    async def is_running(self) -> bool:
        """Tell whether it can be asked, or is still starting."""
        ...

    async def answer(self, ask: Ask, timeout_s: float) -> WholeAnswer | Failure:
        """Answer in one piece."""
        ...

    async def open_stream(self, ask: Ask, timeout_s: float) -> OpenStream | Failure:
        """Begin to answer; returns with the first piece that shows, so that a failure can still fall back."""
        ...


async def read_opening(pieces: AsyncGenerator[StreamPiece | Failure, None]) -> OpenStream | Failure:
    """Read a stream until something is shown. What is odd before is a failure, and closes the stream."""
    opening: list[StreamPiece] = []
    try:
        async for piece in pieces:
            if isinstance(piece, Failure):
                await pieces.aclose()
                return piece
            opening.append(piece)
            if piece.shows:
                return OpenStream(tuple(opening), pieces)
    except BaseException:
        await pieces.aclose()
        raise
    if any(_ends(piece.body) for piece in opening):  # an answer without content, and with a reason for it
        return OpenStream(tuple(opening), pieces)
    usage = opening[-1].usage if opening else None
    return Failure(FailureKind.EMPTY, "the stream ended before it said anything", usage=usage)


def _ends(body: Body) -> bool:
    return any(choice.get("finish_reason") for choice in body.get("choices") or ())
