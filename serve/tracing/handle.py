"""Traces as an ingress gives them away: into a queue that is bounded, and from there to the deployment."""

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
    """Takes traces of this process, and sends them on now and then; see :class:`TraceClient`.

    Args:
        handle: of the deployment.
        share: of the requests that are traced.
        holds_texts: whether a trace may hold the words of a request whose texts are recorded.
    """

    def __init__(self, handle: DeploymentHandle, share: float, *, holds_texts: bool) -> None:
        self._handle, self._sampling, self._holds_texts = handle, Sampling(share), holds_texts
        self._waiting: deque[NotedTrace] = deque()
        self._under_way = self._lost_spans = 0
        self._sending: asyncio.Task[None] | None = None

    @property
    def pending(self) -> int:
        """How many traces are still here."""
        return len(self._waiting) + self._under_way

    def begin(self, traceparent: str | None) -> Sampled | None:
        """Tell whether a request is traced."""
        return self._sampling.decide(traceparent)

    def take(self, trace: NotedTrace) -> None:
        """Take what was noted of a request, if there is room for it."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost_spans += len(trace.spans)
            return
        self._waiting.append(trace if self._holds_texts else replace(trace, said=None))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def figures(self) -> bytes:
        """Return what became of the spans; empty where the deployment does not say so at once."""
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
