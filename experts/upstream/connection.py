"""What can go wrong on the way to an upstream and back, as failures of a stated kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from experts.catalogue.spec import ExpertSpec
from experts.upstream.credentials import scrub
from experts.upstream.failure import Failure, FailureKind

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 64 << 10


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


async def read_body(response: aiohttp.ClientResponse, most: int, most_of_error: int) -> bytes:
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
