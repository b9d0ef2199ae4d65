"""One HTTP server for all tests that script an OpenAI-compatible chat API; what it says is the test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(text: str, model: str = "m", *, tokens: tuple[int, int] = (11, 3)) -> dict[str, Any]:
    """Return the body of a chat completion with one choice; ``tokens`` are the prompt's and the answer's."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
        "usage": usage,
    }


class ChatHandler(BaseHTTPRequestHandler):
    """Reads a request; a test's subclass writes :meth:`act`, which calls one of the others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if data:  # none when the client was killed while it wrote
            self.act(json.loads(data))

    def act(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def reply(self, body: dict[str, Any]) -> None:
        self.send(200, json.dumps(body))

    def send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        own = {"content-type": "application/json", "content-length": str(len(data))}
        for name, value in {**own, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    # The default of five lets connections wait for seconds when some dozens are opened at once.
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up or are killed are no news."""


@contextmanager
def serve_chat(handler: type[ChatHandler], host: str = "127.0.0.1") -> Iterator[str]:
    """Serve on a free port of an address of this machine; yields the base URL, ``http://HOST:PORT/v1``."""
    server = _Server((host, 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
