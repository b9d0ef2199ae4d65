"""What can go wrong on the way to an upstream and back, as failures of a stated kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from experts.catalogue.spec import ExpertSpec
from experts.upstream.credentials import scrub
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.pool import ConnectionPool
from experts.upstream.request import Ask

MOST_BYTES = 32 << 20  # of a whole reply, decompressed
MOST_ERROR_BYTES = 1 << 20
_CHUNK = 64 << 10


class Content(Protocol):
    """The bytes of a reply, as they come."""

    def iter_chunked(self, n: int, /) -> AsyncIterator[bytes]: ...  # noqa: D102
    async def readany(self) -> bytes: ...  # noqa: D102
    def at_eof(self) -> bool: ...  # noqa: D102


class Reply(Protocol):
    """A reply in OpenAI's words whose headers have come; aiohttp's is one."""

    @property
    def status(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def content(self) -> Content: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def release(self) -> Any: ...  # noqa: D102


class Post(Protocol):
    """Sends a request, worded as OpenAI does, to one expert's API, and returns the reply in such words.

    It tells the clock when headers have come, and raises what :func:`failure_of` reads.
    """

    async def __call__(  # noqa: D102
        self, pool: ConnectionPool, ask: Ask, fields: dict[str, Any], headers: dict[str, str], clock: Clock, /
    ) -> Reply: ...


class TooLongError(Exception):
    """A reply that would fill the memory."""


@dataclass
class Clock:
    """The time that a call has: the caller's or the expert's own, whichever is shorter."""

    spec: ExpertSpec
    timeout_s: float
    left_s: float  # of it, where something was tried before
    has_begun: bool = False  # headers have come

    @property
    def limit_s(self) -> float:
        """Seconds in all."""
        return min(self.left_s, self.spec.timeout_s)

    @property
    def is_callers(self) -> bool:
        """Whether the limit says nothing about the expert."""
        return self.timeout_s < self.spec.timeout_s


async def read_body(response: Reply, most: int, most_of_error: int) -> bytes:
    """Return a reply's body, decompressed; cancelled, it hangs up.

    Beyond so many bytes an answer is a TooLongError; of an error the first ones say what it is.
    """
    is_error = response.status >= 300
    body = bytearray()
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if is_error and len(body) > most_of_error:
                response.close()
                return bytes(body[:most_of_error])
            if len(body) > most:
                raise TooLongError(f"the API sent more than {most >> 20} MiB")
    except BaseException:
        response.close()
        raise
    return bytes(body)


def failure_of(error: Exception, clock: Clock, secrets: Iterable[str]) -> Failure:
    """Return what an exception on the way amounts to; one of our own making is raised again."""
    import aiohttp

    def failure(kind: FailureKind, message: str) -> Failure:
        return Failure(kind, scrub(message, secrets))

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return failure(FailureKind.UNREACHABLE, "the API cannot be reached: no connection in time")
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientConnectorError):
        what = "did not finish its answer" if clock.has_begun else "did not answer"
        kind = FailureKind.STALLED if clock.has_begun else FailureKind.TIMEOUT
        told = failure(kind, f"the API {what} within {clock.limit_s:.3g} s")
        return replace(told, in_time_of_caller=clock.is_callers)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return failure(FailureKind.UNREACHABLE, f"the proxy refuses the way to the API (HTTP {error.status})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return failure(FailureKind.UNREACHABLE, f"the API cannot be reached: {_reason(error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return failure(FailureKind.UNREACHABLE, "the address of the API is none; look at `base_url:`")
    if isinstance(error, TooLongError):
        return failure(FailureKind.MALFORMED, str(error))
    if is_garbled(error):
        return failure(FailureKind.MALFORMED, "the API sent what cannot be decompressed")
    if isinstance(error, aiohttp.ClientResponseError):
        return failure(FailureKind.MALFORMED, "the API sent what is no HTTP, or headers that are too long")
    if isinstance(error, aiohttp.ClientError | OSError):
        return failure(FailureKind.BROKEN_CONNECTION, f"the connection to the API broke: {_reason(error)}")
    if isinstance(error, ValueError):  # nothing was sent: it cannot be worded
        return failure(FailureKind.BAD_REQUEST, f"the request cannot be passed on: {error}")
    raise error


def is_garbled(error: BaseException) -> bool:
    """Tell whether a reply said that it is compressed, and is not, or not so."""
    from aiohttp.http_exceptions import ContentEncodingError

    return isinstance(error, ContentEncodingError) or isinstance(error.__cause__, ContentEncodingError)


def _reason(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
