"""What tests of the client do over and over: ask, stream, send events."""

from __future__ import annotations

import asyncio
from typing import Any

from experts import ExpertSpec
from experts.backends.registry import kind_of
from experts.upstream import Failure, Piece, UpstreamClient
from tests.experts.upstream.scripted_socket import (
    Act,
    Call,
    Server,
    completion,
    make_ask,
    make_spec,
    piece,
    serve,
)

ROLE = piece({"role": "assistant", "content": ""})
WORD = piece({"content": "Fine."})
END = piece({}, "stop")


#: Fields of an expert that is asked in Anthropic's words.
ANTHROPIC = {"backend": "litellm", "model": "anthropic/m"}


def client_of(spec: ExpertSpec, key: str = "") -> UpstreamClient:
    post = kind_of(spec).post
    key = key or ("odd-key-of-vendor" if post else "")  # litellm sends nothing without one
    return UpstreamClient(spec, key, post=None if post is None else post(spec, key))


def ask(
    act: Act,
    *,
    timeout_s: float = 3.0,
    limit_s: float = 5.0,
    key: str = "",
    body: Any = None,
    expert: Any = None,
) -> tuple[Any, Server]:
    """Return the reply; ``timeout_s`` is the caller's limit, ``limit_s`` the expert's."""

    async def run() -> tuple[Any, Server]:
        async with serve(act) as server:
            client = client_of(make_spec(server.url, timeout_s=limit_s, **(expert or {})), key)
            try:
                return await client.answer(make_ask(client.spec, **(body or {})), timeout_s), server
            finally:
                await client.aclose()

    return asyncio.run(run())


def stream(act: Act, *, timeout_s: float = 3.0, limit_s: float = 5.0, expert: Any = None) -> Any:
    """Return the failure, or all items of the stream."""

    async def run() -> Any:
        async with serve(act) as server:
            client = client_of(make_spec(server.url, timeout_s=limit_s, **(expert or {})))
            try:
                opened = await client.open_stream(make_ask(client.spec), timeout_s)
                if isinstance(opened, Failure):
                    return opened
                return [item async for item in opened], opened.usage
            finally:
                await client.aclose()

    return asyncio.run(run())


def said(items: list[Any]) -> str:
    pieces = [item.body for item in items if isinstance(item, Piece)]
    return "".join(c["delta"].get("content") or "" for body in pieces for c in body["choices"])


def events(*items: Any, cut: bool = False, done: bool = True) -> Act:
    async def act(call: Call) -> None:
        await call.begin_stream()
        for item in items:
            if isinstance(item, float):
                await asyncio.sleep(item)
            elif isinstance(item, str):
                await call.chunk(item.encode())
            else:
                await call.event(item)
        if cut:
            return call.reset()
        await call.end_stream(done=done)

    return act


async def answer_fine(call: Call) -> None:
    await call.reply(200, completion())
