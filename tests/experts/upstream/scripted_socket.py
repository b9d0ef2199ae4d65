"""A server of raw bytes: what goes over the wire is the test's own, to the byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from experts import ExpertSpec
from experts.upstream import Ask, ask_of


@dataclass
class Call:
    """A request as it came, and the line it came over."""

    head: str
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    async def send(self, data: bytes, *, drip: int = 0) -> None:
        for start in range(0, len(data), drip or len(data) or 1):
            self.writer.write(data[start : start + (drip or len(data))])
            await self.writer.drain()
            if drip:
                await asyncio.sleep(0)

    async def reply(self, status: int, body: bytes | dict[str, Any], **headers: str) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = {"content-type": "application/json", "content-length": str(len(data))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)

    async def begin_stream(self) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, content: Any) -> None:
        await self.chunk(f"data: {json.dumps(content)}\n\n".encode())

    async def end_stream(self, *, done: bool = True) -> None:
        if done:
            await self.chunk(b"data: [DONE]\n\n")
        await self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        self.writer.transport.abort()

    async def until_hung_up(self, limit_s: float = 5.0) -> bool:
        """Tell whether the other side closes the line in time."""
        try:
            async with asyncio.timeout(limit_s):
                return await self.reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


Act = Callable[[Call], Awaitable[None]]


@dataclass
class Server:
    url: str
    calls: list[Call] = field(default_factory=list)


@asynccontextmanager
async def serve(act: Act) -> AsyncIterator[Server]:
    """Serve raw bytes on a free port of the loopback."""
    served = Server("")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                data = await reader.readexactly(int(lengths[0].split(":")[1])) if lengths else b""
                call = Call(head, json.loads(data) if data else {}, writer, reader)
                served.calls.append(call)
                await act(call)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        server.close()


def make_spec(url: str = "http://127.0.0.1:9/v1", **fields: Any) -> ExpertSpec:
    base: dict[str, Any] = {"name": "alpha", "backend": "openai", "model": "m", "base_url": url}
    base |= {"price": {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 4.0}, "context_tokens": 8000}
    base |= {"scoring": "generate", "timeout_s": 5.0}
    return ExpertSpec.model_validate(base | fields)


def make_ask(spec: ExpertSpec, **fields: Any) -> Ask:
    body = {"messages": [{"role": "user", "content": "What is six times seven?"}], "max_tokens": 50}
    return ask_of(spec, body | fields)


def completion(text: str | None = "Fine.", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "choices": [choice],
        "usage": usage,
    } | fields


def piece(delta: Any, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish} | fields
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
