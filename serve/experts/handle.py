"""How the gateway talks to an expert: a Ray Serve handle whose every failure becomes a value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ray import serve as ray_serve
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from experts.upstream import Ask, Failure, FailureKind
from serve.experts.client import Body, OpenStream, StreamPiece, WholeAnswer, read_opening
from serve.transport.local_stream_caller import FullError, LostError, RaisedError

#: The replica keeps the time, and says what came in it; this is for one that does not.
GRACE_S = 0.5


class HandleClient:
    """Talks to an expert's deployment, whose handle and replicas count what is sent to them."""

    at_once: int | None = None

    def __init__(self, spec: ExpertSpec, handle: DeploymentHandle) -> None:
        self.spec = spec
        self._handle = handle
        self._stream_handle = handle.options(stream=True)

    async def is_running(self) -> bool:
        """See :class:`ExpertClient`."""
        status = await asyncio.to_thread(ray_serve.status)
        deployments = status.applications[self._handle.app_name].deployments
        return bool(deployments[self._handle.deployment_name].replica_states.get("RUNNING"))

    async def answer(self, ask: Ask, timeout_s: float) -> WholeAnswer | Failure:
        """See :class:`ExpertClient`. When time runs out the replica is told to stop."""
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                answer: WholeAnswer | Failure = await self._handle.answer.remote(ask.body, timeout_s)
                return answer
        except Exception as error:
            return failure_of(error, timeout_s)

    async def open_stream(self, ask: Ask, timeout_s: float) -> OpenStream | Failure:
        """See :class:`ExpertClient`."""
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                return await read_opening(self._pieces(ask.body, timeout_s))
        except Exception as error:
            return failure_of(error, timeout_s)

    async def _pieces(self, body: Body, timeout_s: float) -> AsyncGenerator[StreamPiece | Failure, None]:
        pieces: Any = self._stream_handle.stream.remote(body, timeout_s)
        try:
            async for piece in pieces:
                yield piece
        except Exception as error:
            yield failure_of(error, timeout_s)
        finally:
            pieces.cancel()  # a client that went away must not keep an engine busy


def failure_of(error: Exception, timeout_s: float) -> Failure:
    """Return what an exception on the way to an expert amounts to.

    Whether the time was a caller's own is for those to say who know what else there was to wait for.
    """
    if isinstance(error, TimeoutError):
        return Failure(FailureKind.TIMEOUT, f"it did not answer within {timeout_s:.3g} s")
    if isinstance(error, BackPressureError | FullError):
        return Failure(FailureKind.BUSY, "it has too many requests waiting")
    if isinstance(error, DeploymentUnavailableError | RayActorError | LostError):
        return Failure(FailureKind.NOT_RUNNING, "it is not running")
    if isinstance(error, TaskCancelledError | RequestCancelledError):
        return Failure(FailureKind.NOT_RUNNING, "it was told to stop")
    name = error.name if isinstance(error, RaisedError) else type(error).__name__
    return Failure(FailureKind.SERVER_ERROR, f"it failed ({name})")
