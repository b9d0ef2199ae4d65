"""Clients that ask one question after the other, at some 60 microseconds of CPU each.

A client of the usual kind takes as much CPU a request as a lean gateway does, on the same cores; these write
prepared bytes to a socket and read the reply with a parser in C.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
import numpy as np

from bench.gateway.upstream import PIECES

_WORDS = re.compile(rb"tok(\d+)")
_WHOLE = [b"%d" % number for number in range(PIECES)]
_TIMEOUT_S = 60.0
_NUMBER = "00000000"
_VOCABULARY = (
    "river",
    "stone",
    "market",
    "window",
    "engine",
    "paper",
    "garden",
    "winter",
    "signal",
    "letter",
)


@dataclass(frozen=True)
class Address:
    """Where to ask, and as whom."""

    url: str
    model: str
    secret: str | None = None


class Question:
    """A request as bytes, different each time it is asked, so that no answer comes from a cache."""

    def __init__(self, address: Address, prompt_tokens: int, *, streamed: bool) -> None:
        draw = random.Random(prompt_tokens)
        text = f"Tale {_NUMBER}: " + " ".join(draw.choices(_VOCABULARY, k=max(1, prompt_tokens - 4)))
        body = {"model": address.model, "messages": [{"role": "user", "content": text}], "max_tokens": 64}
        if streamed:
            body["stream"] = True
        payload = json.dumps(body).encode()
        where = urlsplit(address.url)
        lines = [f"POST {where.path} HTTP/1.1", f"host: {where.netloc}", "content-type: application/json"]
        lines += [
            f"content-length: {len(payload)}",
            *([f"authorization: Bearer {address.secret}"] * bool(address.secret)),
        ]
        self.host, self.port = where.hostname or "127.0.0.1", where.port or 80
        self._before, self._after = payload.split(_NUMBER.encode(), 1)
        self._before = "\r\n".join([*lines, "", ""]).encode() + self._before
        self.streamed = streamed

    def numbered(self, number: int) -> bytes:
        return b"%s%08d%s" % (self._before, number, self._after)


@dataclass
class Reply:
    status: int
    body: bytes
    took_s: float
    first_s: float  # until the first word of the answer


class Connection(asyncio.Protocol):
    """One connection that carries one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Reply] | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self.is_open = transport, True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionError("the connection was closed in a reply"))

    async def ask(self, request: bytes) -> Reply:
        self._waiting = asyncio.get_running_loop().create_future()
        self._body: list[bytes] = []
        self._first: float | None = None
        self._began = time.perf_counter()
        self._transport.write(request)
        return await asyncio.wait_for(self._waiting, _TIMEOUT_S)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        if self._first is None and b"tok0" in body:
            self._first = time.perf_counter() - self._began

    def on_message_complete(self) -> None:
        took_s = time.perf_counter() - self._began
        if not self._parser.should_keep_alive():
            self.is_open = False
            self._transport.close()
        if self._waiting and not self._waiting.done():
            first_s = took_s if self._first is None else self._first
            reply = Reply(self._parser.get_status_code(), b"".join(self._body), took_s, first_s)
            self._waiting.set_result(reply)


@dataclass
class Tally:
    """What came of the requests of some clients."""

    took_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    replies: list[bytes] | None = None  # bodies, where they are kept
    wall_s: float = 0.0

    @property
    def asked(self) -> int:
        return len(self.took_s) + self.failed

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def quantile_ms(self, q: float, *, first: bool = False) -> float:
        of = self.first_s if first else self.took_s
        return float(np.quantile(of, q)) * 1e3 if of else float("nan")


async def load(
    questions: tuple[Question, ...],
    *,
    clients: int,
    numbers: Iterator[int],
    seconds: float,
    most: int = 50_000,
    keep: bool = False,
) -> Tally:
    """Let so many clients ask for so long, ``most`` requests at most; questions are asked in turn."""
    tally = Tally(replies=[] if keep else None)
    left = itertools.repeat(None, most)
    began = time.perf_counter()

    async def client() -> None:
        connection: Connection | None = None
        while time.perf_counter() - began < seconds and next(left, tally) is None:
            number = next(numbers)
            question = questions[number % len(questions)]
            try:
                if connection is None or not connection.is_open:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(Connection, question.host, question.port)
                _take_down(await connection.ask(question.numbered(number)), question, tally)
            except Exception as error:
                tally.failures[f"{type(error).__name__}: {error}"] += 1
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    tally.wall_s = time.perf_counter() - began
    return tally


def _take_down(reply: Reply, question: Question, tally: Tally) -> None:
    ended = not question.streamed or b"data: [DONE]" in reply.body
    if reply.status != 200 or not ended or _WORDS.findall(reply.body) != _WHOLE:
        tally.failures[f"{reply.status}: {reply.body[:200].decode(errors='replace')}"] += 1
        return
    tally.took_s.append(reply.took_s)
    tally.first_s.append(reply.first_s)
    if tally.replies is not None:
        tally.replies.append(reply.body)
