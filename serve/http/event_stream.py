"""Answers as they leave: a streamed one as server-sent events, and the headers that say who answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from serve.dialects.stream_words import StreamWords
from serve.wire.api_errors import ApiError
from serve.wire.json_text import write_json

logger = logging.getLogger("ray.serve")

_KEEP_ALIVE = b": waiting for an answer\n\n"
#: How long a client may take nothing of its stream, which holds a place here and at its expert.
_UNREAD_S = 60.0
_FAILED = ApiError(500, "the endpoint failed on this request", code="internal_error")

Pieces = AsyncGenerator[dict[str, Any], None]  # of a chat completion; an empty one keeps the connection


class EventStream(StreamingResponse):
    """Sends the pieces of an answer as server-sent events; closes them, and its place, at any end."""

    def __init__(
        self, pieces: Pieces, held: ExitStack, headers: dict[str, str], words: StreamWords | None = None
    ) -> None:
        """``words`` makes another dialect's events of the pieces; they go out as they are without it."""
        self._pieces, self._held = pieces, held
        headers = {"Cache-Control": "no-cache", **headers}
        events = _events(pieces) if words is None else _events_in(words, pieces)
        super().__init__(events, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A client may leave before the first piece is asked for, and who takes nothing has left."""
        is_unread = False

        async def send_to_reader(message: Message) -> None:
            nonlocal is_unread
            try:
                async with asyncio.timeout(_UNREAD_S):
                    await send(message)
            except TimeoutError:
                is_unread = True
                raise

        try:
            await super().__call__(scope, receive, send_to_reader)
        except Exception:
            if not is_unread:
                raise
        finally:
            self._held.close()
            await self._pieces.aclose()


async def _events(pieces: Pieces) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield b"data: %b\n\n" % write_json(piece) if piece else _KEEP_ALIVE
    except Exception:  # the headers are out: what is left is to say it in the stream's own words
        logger.exception("a stream failed")
        yield b"data: %b\n\n" % write_json(_FAILED.body())
    yield b"data: [DONE]\n\n"


async def _events_in(words: StreamWords, pieces: Pieces) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            if not piece:
                yield _KEEP_ALIVE
            for event in words.read(piece) if piece else ():
                yield _named(event)
        for event in words.end():
            yield _named(event)
    except Exception:
        logger.exception("a stream failed")
        for event in words.read(_FAILED.body()):
            yield _named(event)


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), write_json(event))


def report_headers(report: dict[str, Any]) -> dict[str, str]:
    """Return the headers that say who answered; the same facts as the ``leeroo`` object."""
    named = {
        "x-leeroo-request-id": report.get("request_id"),
        "x-leeroo-expert": report.get("expert"),
        "x-leeroo-router-version": report.get("router_version"),
        "x-leeroo-predicted-success": report.get("predicted_success"),
        "x-leeroo-cost-usd": report.get("cost_usd"),
        "x-leeroo-remaining-usd": report.get("remaining_usd"),
        "x-leeroo-cache": report.get("cache", {}).get("kind"),
        "x-leeroo-tried": ",".join(attempt["expert"] for attempt in report["tried"]) or None,
    }
    return {name: _header_value(value) for name, value in named.items() if value is not None}


def _header_value(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.encode("ascii", "replace").decode()
