"""A reply that litellm has translated, with the face of one that came over HTTP in OpenAI's words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from experts.upstream.translated.wire import Wire

_JSON = {"content-type": "application/json"}
_STREAM = {"content-type": "text/event-stream"}
_DONE = b"data: [DONE]\n\n"
_BROKEN = b"data: {\n\n"  # litellm could not read a piece, which may have held words


class TranslatedReply:
    """See :class:`experts.upstream.connection.Reply`; the content is read by one reader, once."""

    def __init__(
        self, status: int, headers: Mapping[str, str], content: WholeText | Pieces, wire: Wire
    ) -> None:
        self.status, self.headers, self.content, self._wire = status, headers, content, wire

    @classmethod
    def whole(cls, status: int, headers: Mapping[str, str], body: bytes, wire: Wire) -> TranslatedReply:
        """Return a reply that is all there."""
        return cls(status, {**headers, **_JSON}, WholeText(body), wire)

    @classmethod
    async def stream(cls, pieces: Any, wire: Wire) -> TranslatedReply:
        """Return a streamed reply, of litellm's own stream, once its first piece is there.

        Some providers are asked only when that is wanted.
        """
        first = await anext(pieces, None)
        return cls(200, {**wire.headers, **_STREAM}, Pieces(first, pieces, wire), wire)

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def release(self) -> None:
        """Give the connection back. A whole reply did so already; of a stream no more is wanted."""
        self._wire.close()


class WholeText:
    """A body that is all there."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the body."""
        yield self._body

    async def readany(self) -> bytes:
        """Return the body, then nothing."""
        body, self._body = self._body, b""
        return body

    def at_eof(self) -> bool:
        """Whether it was read."""
        return not self._body


class Pieces:
    """litellm's pieces of a stream as events.

    litellm gives every stream a reason to end, and counts tokens where none were told. Both are left out here
    where the API did not say them: a stream that was cut off must not pass for a whole answer, and of its
    tokens only a part was told.
    """

    def __init__(self, first: Any, pieces: Any, wire: Wire) -> None:
        self._first, self._pieces, self._wire = first, pieces, wire
        self._is_over = first is None

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the events, as far as they are there."""
        while data := await self.readany():
            yield data

    async def readany(self) -> bytes:
        """Return the next event; nothing at the end.

        Raises:
            Exception: what broke the connection, as it was.
        """
        if self._is_over:
            return b""
        piece, self._first = self._first, None
        try:
            piece = piece or await anext(self._pieces)
        except StopAsyncIteration:
            self._is_over = True
            return _DONE if self._has_ended else b""
        except Exception:
            self._is_over = True
            if self._wire.error is not None:
                raise self._wire.error  # noqa: B904
            told = error_in(self._wire.tail)
            return _BROKEN if told is None else _event(told)
        return _event(self._read(piece.model_dump(exclude_none=True)))

    def at_eof(self) -> bool:
        """Whether it was read."""
        return self._is_over

    @property
    def _has_ended(self) -> bool:
        return bool(self._pieces.received_finish_reason) or self._wire.tells_end

    def _read(self, piece: dict[str, Any]) -> dict[str, Any]:
        if not self._has_ended:
            for choice in piece["choices"]:
                choice.pop("finish_reason", None)
        piece["choices"] = [one for one in piece["choices"] if one.get("delta") or one.get("finish_reason")]
        if "usage" in piece:
            told = [one.usage for one in self._pieces.chunks if getattr(one, "usage", None) is not None]
            if told and self._has_ended:
                piece["usage"] = with_hours(piece["usage"], *(one.model_dump() for one in told))
            else:
                del piece["usage"]
        return piece


def with_hours(usage: dict[str, Any], *told: dict[str, Any]) -> dict[str, Any]:
    """Return token counts with those that a cache keeps for an hour, where Anthropic puts them.

    Args:
        usage: of the answer, as litellm words it.
        told: those of a stream's pieces: its sum leaves them out.
    """
    for one in (usage, *told):
        details = one.get("prompt_tokens_details")
        writes = details.get("cache_creation_token_details") if isinstance(details, dict) else None
        if isinstance(writes, dict):
            return {**usage, "cache_creation": writes}
    return usage


def _event(content: Any) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def error_in(tail: bytes) -> dict[str, Any] | None:
    """Return the error with which a stream ended, as the API worded it."""
    for line in reversed(tail.splitlines()):
        if line.startswith(b"data:"):
            try:
                content = json.loads(line.removeprefix(b"data:"))
            except ValueError:
                continue
            if isinstance(content, dict) and content.get("error"):
                return content
    return None
