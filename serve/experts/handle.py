"""How the gateway talks to an expert: a Ray Serve handle whose every failure becomes a value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from ray import serve as ray_serve
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from experts import ExpertSpec
from serve.wire.api_errors import ExpertFailure

Answer = dict[str, Any]  # a completion, or one piece of a streamed one, in OpenAI's shape


class ExpertClient(Protocol):
    """What the gateway needs of an expert."""

    spec: ExpertSpec

    async def is_running(self) -> bool:
        """Tell whether a replica is up, or one is still starting."""
        ...

    async def answer(self, body: dict[str, Any], timeout_s: float) -> Answer | ExpertFailure:
        """Answer in one piece."""
        ...

    async def open_stream(self, body: dict[str, Any], timeout_s: float) -> OpenStream | ExpertFailure:
        """Begin to answer; returns once the first piece is there, so that a failure can still be mended."""
        ...


@dataclass(frozen=True)
class OpenStream:
    """A stream whose first piece has arrived."""

    first: Answer
    rest: AsyncIterator[Answer | ExpertFailure]


class HandleClient:
    """Talks to an expert's deployment."""

    def __init__(self, spec: ExpertSpec, handle: DeploymentHandle) -> None:
        self.spec = spec
        self._handle = handle
        self._stream_handle = handle.options(stream=True)

    async def is_running(self) -> bool:
        """See :class:`ExpertClient`."""
        status = await asyncio.to_thread(ray_serve.status)
        deployments = status.applications[self._handle.app_name].deployments
        return bool(deployments[self._handle.deployment_name].replica_states.get("RUNNING"))

    async def answer(self, body: dict[str, Any], timeout_s: float) -> Answer | ExpertFailure:
        """See :class:`ExpertClient`. When time runs out the replica is told to stop."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._handle.answer.remote(body)  # type: ignore[no-any-return]
        except Exception as error:
            return failure_of(self.spec, error, timeout_s)

    async def open_stream(self, body: dict[str, Any], timeout_s: float) -> OpenStream | ExpertFailure:
        """See :class:`ExpertClient`."""
        try:
            async with asyncio.timeout(timeout_s):
                pieces = self._stream_handle.stream.remote(body)
                first = await anext(aiter(pieces))
        except Exception as error:
            return failure_of(self.spec, error, timeout_s)
        return first if isinstance(first, ExpertFailure) else OpenStream(first, self._rest(pieces))

    async def _rest(self, pieces: Any) -> AsyncIterator[Answer | ExpertFailure]:
        try:
            async for piece in pieces:
                yield piece
        except Exception as error:
            yield failure_of(self.spec, error, 0.0)
        finally:
            pieces.cancel()  # a client that went away must not keep an engine busy


def failure_of(spec: ExpertSpec, error: Exception, timeout_s: float) -> ExpertFailure:
    """Return what an exception on the way to an expert amounts to."""
    if isinstance(error, TimeoutError):
        return ExpertFailure(504, f"{spec.name} did not answer within {timeout_s:.3g} s", "timeout")
    if isinstance(error, BackPressureError):
        return ExpertFailure(429, f"{spec.name} has too many requests waiting", "overloaded")
    if isinstance(error, DeploymentUnavailableError):
        return ExpertFailure(503, f"{spec.name} is not running", "unavailable")
    if isinstance(error, StopAsyncIteration):
        return ExpertFailure(502, f"{spec.name} ended without an answer")
    return ExpertFailure(502, f"{spec.name} failed: {type(error).__name__}")
