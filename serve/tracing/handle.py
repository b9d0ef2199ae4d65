"""The ingress's side of tracing: a bounded queue of traces, sent to the deployment."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace

from ray.serve.handle import DeploymentHandle

from serve.tracing.messages import NotedTrace, Sampled
from serve.tracing.sampling import Sampling

logger = logging.getLogger("ray.serve")

MOST_WAITING = 1_000  # traces; further ones are dropped, and counted
_BATCH = 200
_EVERY_S = 0.5
_CALL_S = 3.0
_FIGURES_S = 1.0


class TracesHandle:
    """Takes traces of this process, and sends them periodically; see :class:`TraceClient`.

    Args:
        handle: of the deployment.
        share: share of the requests that are traced.
        holds_texts: whether a trace may contain the texts of a request, if these are recorded.
    """

    def __init__(self, handle: DeploymentHandle, share: float, *, holds_texts: bool) -> None:
        self._handle, self._sampling, self._holds_texts = handle, Sampling(share), holds_texts
        self._waiting: deque[NotedTrace] = deque()
        self._under_way = self._lost_spans = 0
        self._sending: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """The number of traces that have not been sent."""
        return len(self._waiting) + self._under_way

    def begin(self, traceparent: str | None) -> Sampled | None:
        """Return the trace of a request, or None if it is not traced."""
        return self._sampling.decide(traceparent)

    def take(self, trace: NotedTrace) -> None:
        """Take the notes of a request, if there is room."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost_spans += len(trace.spans)
            return
        self._waiting.append(trace if self._holds_texts else replace(trace, said=None))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def figures(self) -> bytes:
        """Return the counts of spans; empty if the deployment does not answer at once."""
        try:
            async with asyncio.timeout(_FIGURES_S):
                return bytes(await self._handle.figures.remote())
        except Exception:
            return b""

    async def _send(self) -> None:
        """Send what waits, until nothing does. What the deployment does not take is lost, and counted."""
        while self._waiting:
            await asyncio.sleep(_EVERY_S)
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            lost, self._lost_spans, self._under_way = self._lost_spans, 0, len(batch)
            try:
                async with asyncio.timeout(_CALL_S):
                    await self._handle.write.remote(batch, lost)
            except Exception as error:
                self._lost_spans += lost + sum(len(trace.spans) for trace in batch)
                logger.warning("%d traces are lost (%s)", len(batch), type(error).__name__)
            finally:
                self._under_way = 0
