"""An API that answers at once, from a script: what all gateways stand in front of.

``python -m bench.gateway.upstream PORT``. It reads no JSON and takes some 50 microseconds a request, so that
what is measured is the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

import httptools
import uvloop

PIECES = 12
WORDS = [f"tok{number} " for number in range(PIECES)]
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_TOLD = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "bench", "system_fingerprint": "fp_bench"}
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"
_BYTES_PER_TOKEN = 6


def _chunk(choices: list[dict[str, object]], **more: object) -> bytes:
    event = {**_TOLD, "object": "chat.completion.chunk", "choices": choices, **more}
    return _chunked(f"data: {json.dumps(event)}\n\n".encode())


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _delta(delta: dict[str, str], ends: str | None = None) -> bytes:
    return _chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": ends}])


def _usage(prompt_tokens: int) -> dict[str, int]:
    total = prompt_tokens + PIECES
    return {"prompt_tokens": prompt_tokens, "completion_tokens": PIECES, "total_tokens": total}


_OPENING = _HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
_FIRST = _OPENING + _delta({"role": "assistant", "content": ""}) + _delta({"content": WORDS[0]})
_LATER = [_delta({"content": word}) for word in WORDS[1:]]
_MESSAGE = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
_CHOICES = [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}]


class Conversation(asyncio.Protocol):
    """One connection: requests one after the other."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body.clear()
        usage = _usage(max(1, len(body) // _BYTES_PER_TOKEN))
        if _STREAM.search(body):
            self._transport.write(_FIRST)
            asyncio.get_running_loop().call_soon(self._send_piece, 0, usage)
            return
        told = {**_TOLD, "object": "chat.completion", "choices": _CHOICES, "usage": usage}
        reply = json.dumps(told).encode()
        self._transport.write(
            _HEAD % b"application/json" + b"content-length: %d\r\n\r\n%s" % (len(reply), reply)
        )

    def _send_piece(self, number: int, usage: dict[str, int]) -> None:
        """Send one piece in a packet of its own, and the next in a later turn of the loop."""
        if self._transport.is_closing():
            return
        if number < len(_LATER):
            self._transport.write(_LATER[number])
            asyncio.get_running_loop().call_soon(self._send_piece, number + 1, usage)
            return
        ending = _delta({}, "stop") + _chunk([], usage=usage) + _chunked(b"data: [DONE]\n\n")
        self._transport.write(ending + b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Conversation, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
