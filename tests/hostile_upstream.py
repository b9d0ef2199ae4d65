"""An upstream that bills, lies, stalls and dies. What it would put on its invoice is known to the test.

A test files a :class:`Plan` under a name, and puts ``#name#`` into the last message of a request; the
upstream then does as the plan says, or as that under ``name@model`` does. A request without a plan is
answered in an orderly way, with usage. Everything goes over a real socket, byte by byte.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

WORD = "word "  # one token of this upstream's
USD_PER_TOKEN = 1e-6  # its price list is the same for prompts and answers


@dataclass(frozen=True)
class Plan:
    """What the upstream does with a request.

    Attributes:
        words: tokens of the answer that it makes; never more than the request's ``max_tokens`` allows.
        pace_s: seconds that each of them takes.
        begin_s: seconds before anything of the reply is sent.
        usage: whether the reply tells the token counts; an object is told in place of the true ones.
        status: of the reply; other than 200 there is no answer.
        raw: the reply's body as it is, in place of an orderly one; of a stream, its pieces, in which a
            number is a pause in seconds. ``@AUTH@`` in it becomes the key that was sent.
        headers: laid over the reply's own.
        breaks: where the connection is broken: before the reply, or within its body.
        bills: whether work is billed although no answer came of it.
        says: the message of an orderly answer that is not streamed, in place of its words.
        finish: why that answer ended.
    """

    words: int = 3
    pace_s: float = 0.0
    begin_s: float = 0.0
    usage: bool | dict[str, Any] | None = True
    status: int = 200
    raw: bytes | tuple[bytes | float, ...] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    breaks: Literal["no", "before", "within"] = "no"
    bills: bool = True
    says: dict[str, Any] | None = None
    finish: str = "stop"


@dataclass
class Bill:
    """One line of the invoice."""

    plan: str
    model: str
    prompt_tokens: int
    completion_tokens: int = 0
    told: bool = False  # whether the client got the counts
    began: float = field(default_factory=time.monotonic)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def usd(self) -> float:
        """What the line comes to."""
        return (self.prompt_tokens + self.completion_tokens) * USD_PER_TOKEN


class HostileUpstream:
    """See the module; :func:`serve_hostile` starts one."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.bills: list[Bill] = []
        self.requests: list[dict[str, Any]] = []
        self.url = ""

    @property
    def billed_usd(self) -> float:
        """What the invoice comes to, as of now."""
        return sum(bill.usd for bill in self.bills)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of one connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._serve_one(reader, writer):
                pass
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        lines = (line.partition(":") for line in head[1:])
        headers = {name.lower(): value.strip() for name, _, value in lines}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        said = json.dumps(body.get("messages") or body.get("prompt") or "")
        named = re.findall(r"#([\w.:-]+)#", said)
        name = named[-1] if named else ""
        plan = self.plans.get(f"{name}@{body.get('model')}", self.plans.get(name, Plan()))
        self.requests.append(body)
        bill = Bill(name, str(body.get("model")), len(said) // 5 + 3, headers=headers)
        limits = [body.get("max_tokens"), body.get("max_completion_tokens")]
        words = min([plan.words, *(limit for limit in limits if isinstance(limit, int))])
        works = plan.bills and (plan.status == 200 or plan.status >= 500)
        if works:
            self.bills.append(bill)
        await asyncio.sleep(plan.begin_s)
        if plan.breaks == "before":
            writer.transport.abort()
            return False
        if body.get("stream") and plan.status == 200:
            await self._stream(plan, bill, words, body, writer)
            return False
        return await self._reply(plan, bill, words, writer)

    async def _reply(self, plan: Plan, bill: Bill, words: int, writer: asyncio.StreamWriter) -> bool:
        # It works on whether or not anybody still listens, and bills all of it.
        await asyncio.sleep(words * plan.pace_s)
        bill.completion_tokens = words
        content = b"".join(part for part in _parts(plan.raw, bill) if isinstance(part, bytes))
        if plan.raw is None:
            content = json.dumps(_answer(bill, plan, words)).encode()
            bill.told = plan.usage is True
        lines = [f"HTTP/1.1 {plan.status} Said", "content-type: application/json"]
        lines += [f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in plan.headers]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if plan.breaks == "within":
            writer.write(content[: len(content) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(content)
        await writer.drain()
        return True

    async def _stream(
        self, plan: Plan, bill: Bill, words: int, body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        lines = ["HTTP/1.1 200 Said", "content-type: text/event-stream", "connection: close"]
        lines += [f"{name}: {value}" for name, value in plan.headers]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if plan.raw is not None:
            for part in _parts(plan.raw, bill):
                if isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    writer.write(part)
                    await writer.drain()
            bill.completion_tokens = words
            if plan.breaks == "within":
                writer.transport.abort()
            return
        is_chat = "messages" in body
        if is_chat:
            writer.write(_event(_piece(bill, {"role": "assistant", "content": ""}, None)))
        for number in range(words):
            await asyncio.sleep(plan.pace_s)
            if writer.transport.is_closing():
                return  # whoever left is billed what was made until then
            bill.completion_tokens += 1
            writer.write(_event(_piece(bill, {"content": WORD} if is_chat else WORD, None)))
            await writer.drain()
            if plan.breaks == "within" and number >= words // 2:
                writer.transport.abort()
                return
        writer.write(_event(_piece(bill, {} if is_chat else "", "stop")))
        usage = _usage(bill, plan)
        if usage is not None:
            writer.write(_event(_piece(bill, None, None) | {"usage": usage}))
            bill.told = plan.usage is True
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()


@contextmanager
def serve_hostile() -> Iterator[HostileUpstream]:
    """Serve on a free port of the loopback, in a thread of its own."""
    upstream, loop = HostileUpstream(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=512, limit=1 << 22)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def _parts(raw: bytes | tuple[bytes | float, ...] | None, bill: Bill) -> tuple[bytes | float, ...]:
    key = bill.headers.get("authorization", "").encode()
    parts = () if raw is None else (raw,) if isinstance(raw, bytes) else raw
    return tuple(part.replace(b"@AUTH@", key) if isinstance(part, bytes) else part for part in parts)


def _usage(bill: Bill, plan: Plan) -> dict[str, Any] | None:
    if not plan.usage:
        return None
    if isinstance(plan.usage, dict):
        return plan.usage
    counts = (bill.prompt_tokens, bill.completion_tokens)
    return {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}


def _answer(bill: Bill, plan: Plan, words: int) -> dict[str, Any]:
    message = plan.says or {"role": "assistant", "content": (WORD * words).strip()}
    answer: dict[str, Any] = {"id": "h1", "object": "chat.completion", "created": 1, "model": bill.model}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": plan.finish}]
    if (usage := _usage(bill, plan)) is not None:
        answer["usage"] = usage
    return answer


def _piece(bill: Bill, delta: Any, finish: str | None) -> dict[str, Any]:
    is_chat = not isinstance(delta, str)
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    choice = {"index": 0, "delta" if is_chat else "text": delta, "finish_reason": finish}
    choices = [] if delta is None else [choice]
    return {"id": "h1", "object": kind, "created": 1, "model": bill.model, "choices": choices}


def _event(piece: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(piece).encode() + b"\n\n"
