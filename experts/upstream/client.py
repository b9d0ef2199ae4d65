"""Asks an expert's API: one request, one reading of what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from experts.catalogue.dialect import Dialect
from experts.catalogue.spec import ExpertSpec
from experts.upstream.address import find_way, url_of
from experts.upstream.connection import (
    MOST_BYTES,
    MOST_ERROR_BYTES,
    Clock,
    Post,
    Reply,
    failure_of,
    read_body,
)
from experts.upstream.counting import TokenCounter
from experts.upstream.credentials import read_key
from experts.upstream.dialect import word_request
from experts.upstream.failure import Failure, FailureKind
from experts.upstream.open_stream import UpstreamStream
from experts.upstream.pool import ConnectionPool
from experts.upstream.reading import Answer, read_reply
from experts.upstream.request import Ask
from experts.upstream.shape.json_text import write_json
from experts.upstream.stream import StreamReader
from experts.upstream.unasked_stream import is_stream, read_unasked

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_LONG_BYTES = 256 << 10
_MOST_REFUSALS = 6  # fields that are given up for one request

_Reply = TypeVar("_Reply")


class UpstreamClient:
    """Talks to one expert's API, within one event loop.

    Nothing is asked twice, but for a field that the API refuses and that an answer is not worse without: such
    a refusal is never billed, so the field is dropped, remembered in :attr:`dialect`, and it is asked again.
    Redirects are not followed: they would carry the key elsewhere. The loopback is never proxied; other
    addresses obey the environment's proxies. Cancelling a call closes its connection at once.

    Args:
        spec: the expert.
        key: of its API; empty for a server that needs none; read from the environment when not given.
        pool: the connections of this process, to be closed by their owner; its own when not given.
        post: what sends its requests; in OpenAI's words over HTTP when not given.

    Raises:
        InputError: the key is missing, or holds what no header can.
    """

    def __init__(
        self,
        spec: ExpertSpec,
        key: str | None = None,
        *,
        pool: ConnectionPool | None = None,
        post: Post | None = None,
    ) -> None:
        self.spec = spec
        self.counter = TokenCounter(spec)
        self.dialect: Dialect = spec.dialect
        self._key = read_key(spec) if key is None else key
        self._owns_pool = pool is None
        self._pool = pool or ConnectionPool()
        self._post = post or HttpPost(spec, self._key)

    async def answer(
        self, ask: Ask, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Answer | Failure:
        """Ask for a whole answer; ``timeout_s`` is the caller's, and the expert's own limit holds as well."""

        async def send(fields: dict[str, Any], extra: dict[str, str], left_s: float) -> Answer | Failure:
            return await self._send_whole(ask, fields, extra, Clock(self.spec, timeout_s, left_s))

        return await self._ask(ask, dict(headers or {}), timeout_s, send)

    async def open_stream(
        self, ask: Ask, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> UpstreamStream | Failure:
        """Ask for a streamed answer; returns once a piece that shows something, or the end, is there.

        Whatever goes wrong before that is a failure: nobody has seen anything, and another expert may answer.
        ``timeout_s`` limits the wait for it; later no silence may be longer than the expert's ``timeout_s``.
        """

        async def send(
            fields: dict[str, Any], extra: dict[str, str], left_s: float
        ) -> UpstreamStream | Failure:
            return await self._send_stream(ask, fields, extra, Clock(self.spec, timeout_s, left_s))

        return await self._ask(ask, dict(headers or {}), timeout_s, send, stream=True)

    async def aclose(self) -> None:
        """Close all connections that are its own."""
        if self._owns_pool:
            await self._pool.aclose()

    async def _ask(
        self,
        ask: Ask,
        headers: dict[str, str],
        timeout_s: float,
        send: Callable[[dict[str, Any], dict[str, str], float], Awaitable[_Reply | Failure]],
        *,
        stream: bool = False,
    ) -> _Reply | Failure:
        with suppress(OSError, ValueError):  # certificates are read here, not within the time for an answer
            self._pool.session()
        ends_at = time.monotonic() + timeout_s
        left_s = timeout_s
        for _ in range(_MOST_REFUSALS):
            body = {**ask.body, "stream": stream} if ask.is_completion else ask.body
            if stream:
                body["stream_options"] = {"include_usage": True}
            elif ask.is_completion:
                body.pop("stream_options", None)
            dialect = self.dialect
            fields, own = word_request(self.spec, body, dialect)
            reply = await send(fields, own | headers, left_s)
            if not isinstance(reply, Failure) or reply.kind is not FailureKind.REFUSED_PARAMETER:
                return reply
            # Another call may have learned it meanwhile: then this one only has to be sent again.
            if self.dialect is dialect:
                learned = dialect.without(reply.param or "")
                if learned is None:
                    return reply
                self.dialect = learned
            left_s = max(0.001, ends_at - time.monotonic())
        return reply

    async def _send_whole(
        self, ask: Ask, fields: dict[str, Any], headers: dict[str, str], clock: Clock
    ) -> Answer | Failure:
        try:
            async with asyncio.timeout(clock.limit_s):
                response = await self._post(self._pool, ask, fields, headers, clock)
                clock.has_begun = True
                body = await read_body(response, MOST_BYTES, MOST_ERROR_BYTES)
                response.release()
                return await self._read_fairly(ask, response, body, fields)
        except Exception as error:
            return failure_of(error, clock, self._secrets)

    async def _send_stream(
        self, ask: Ask, fields: dict[str, Any], headers: dict[str, str], clock: Clock
    ) -> UpstreamStream | Failure:
        response: Reply | None = None
        try:
            async with asyncio.timeout(clock.limit_s):
                response = await self._post(self._pool, ask, fields, headers, clock)
                clock.has_begun = True
                kind = response.headers.get("content-type", "").lower()
                if response.status >= 300 or "application/json" in kind:
                    body = await read_body(response, MOST_BYTES, MOST_ERROR_BYTES)
                    response.release()
                    reply = await self._read_fairly(ask, response, body, fields)
                    if isinstance(reply, Failure):
                        return reply
                    return UpstreamStream.of_answer(reply)
                reader = StreamReader(
                    ask, self.counter, headers=response.headers, sent=fields, secrets=self._secrets
                )
                stream = UpstreamStream(reader, response, self.spec.timeout_s)
                failure = await stream.begin()
                return stream if failure is None else failure
        except BaseException as error:
            if response is not None:
                response.close()
            if not isinstance(error, Exception):
                raise
            return failure_of(error, clock, self._secrets)

    async def _read_fairly(
        self, ask: Ask, response: Reply, body: bytes, fields: dict[str, Any]
    ) -> Answer | Failure:
        """Read a long reply beside the event loop: some megabytes of odd JSON take many seconds."""
        if len(body) <= _LONG_BYTES:
            return self._read_whole(ask, response, body, fields)
        return await asyncio.to_thread(self._read_whole, ask, response, body, fields)

    def _read_whole(self, ask: Ask, response: Reply, body: bytes, fields: dict[str, Any]) -> Answer | Failure:
        kind = response.headers.get("content-type", "")
        if response.status < 300 and is_stream(kind, body):
            reader = StreamReader(
                ask, self.counter, headers=response.headers, sent=fields, secrets=self._secrets
            )
            return read_unasked(reader, body, self._secrets)
        return read_reply(
            ask, response.status, response.headers, body, self.counter, sent=fields, secrets=self._secrets
        )

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (self._key,) if len(self._key) >= 4 else ()


class HttpPost:
    """Asks an API that speaks OpenAI's dialect; see :class:`experts.upstream.connection.Post`."""

    def __init__(self, spec: ExpertSpec, key: str) -> None:
        self._spec, self._key = spec, key
        self._ways: dict[str, tuple[URL, URL | None, aiohttp.BasicAuth | None]] = {}

    async def __call__(
        self, pool: ConnectionPool, ask: Ask, fields: dict[str, Any], headers: dict[str, str], clock: Clock
    ) -> Reply:
        """Send a request; returns once headers have come."""
        way = self._ways.get(ask.path)
        if way is None:
            way = self._ways[ask.path] = find_way(url_of(self._spec, ask.path))
        url, proxy, login = way
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        sent |= {"user-agent": "leeroo-orchestrator"} | {
            name.lower(): value for name, value in headers.items()
        }
        if fields.get("stream"):
            sent["accept-encoding"] = "identity"
        if self._key:
            name = self._spec.dialect.key_header
            sent[name] = f"Bearer {self._key}" if name == "authorization" else self._key
        return await pool.session().post(
            url,
            data=write_json(fields),
            headers={name.title(): value for name, value in sent.items()},  # as the vendors' own clients do
            allow_redirects=False,
            proxy=proxy,
            proxy_auth=login,
        )
