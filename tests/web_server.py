"""A web application on a port of its own, in a thread, as a test's clients ask it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serve_app(app: Any, on_end: Callable[[], Awaitable[None]] | None = None) -> Iterator[str]:
    """Serve an ASGI application on 127.0.0.1 as long as the block goes on; yield its address.

    Args:
        app: the application.
        on_end: awaited in the server's event loop once it serves no more.
    """
    import uvicorn

    # Its set-up of logging would close absl's handler, which holds the stream that pytest captures.
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))

    async def run() -> None:
        await server.serve()
        if on_end is not None:
            await on_end()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
