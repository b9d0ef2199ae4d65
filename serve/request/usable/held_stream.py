"""A stream that is held back until its answer is whole and judged; comments keep its connection meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any

from experts.upstream import Answer
from experts.upstream.stream import pieces_of
from serve.experts.client import Body
from serve.request.background import Background
from serve.request.in_flight import InFlight
from serve.request.usable.whole_answer import WholeReply
from serve.wire.api_errors import ApiError

#: How long a client waits for the status and the headers: what comes within it has those of its answer.
PATIENCE_S = 2.0
KEEP_ALIVE_S = 5.0  # between comments: proxies close a connection that says nothing for half a minute


async def open_held(
    job: InFlight, work: Coroutine[Any, Any, WholeReply], background: Background, *, wants_usage: bool
) -> tuple[dict[str, Any], AsyncGenerator[Body, None]]:
    """Wait a little for a whole answer; returns what is known of it by then, and its pieces.

    Empty pieces stand for comments. A refusal that comes later is the last piece. Closed before its end, the
    generator stops the work on the answer, which is charged as one whose caller left.

    Raises:
        ApiError: nobody could answer, and that was known in time.
    """
    task = background.start(work)
    try:
        await asyncio.wait({task}, timeout=PATIENCE_S)
    except asyncio.CancelledError:
        task.cancel()
        raise
    report: dict[str, Any] = {"request_id": job.request_id, "tried": []}
    if task.done():
        report = task.result().report
    pieces = _pieces(job, task, wants_usage=wants_usage)
    await anext(pieces)  # begun: from here on its end is run whatever becomes of it
    return report, pieces


async def _pieces(
    job: InFlight, task: asyncio.Task[WholeReply], *, wants_usage: bool
) -> AsyncGenerator[Body, None]:
    try:
        yield {}
        while not task.done():
            await asyncio.wait({task}, timeout=KEEP_ALIVE_S)
            if not task.done():
                yield {}
    finally:
        if not task.done():
            job.has_left = True
            task.cancel()
    try:
        reply = task.result()
    except ApiError as error:
        yield error.body()
        return
    except asyncio.CancelledError:
        yield ApiError(503, "the endpoint is shutting down", code="shutting_down").body()
        return
    for piece in stream_of(reply, job.began, wants_usage=wants_usage):
        yield piece


def stream_of(reply: WholeReply, began: float, *, wants_usage: bool) -> Iterator[Body]:
    """Yield an answer that is there as the pieces of a stream.

    Args:
        reply: the answer.
        began: when its request came, on the clock of ``time.monotonic``.
        wants_usage: whether the token counts come last.
    """
    answer = reply.answer
    content, ends = (piece.body for piece in pieces_of(Answer(answer.body, answer.usage)))
    yield content | {"leeroo": reply.report}
    yield ends | {"leeroo": reply.report | {"latency_s": round(time.monotonic() - began, 4)}}
    if wants_usage:
        frame = {name: value for name, value in content.items() if name not in ("choices", "leeroo")}
        yield frame | {"choices": [], "usage": answer.usage.to_openai()}
