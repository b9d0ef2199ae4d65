"""Behind HAProxy an ingress answers its own requests: from its server straight to the application.

Between the two lies Ray Serve's handling of a request (tasks, metrics, contexts), which took a fifth to a
third of an ingress's CPU. Ray has a hook for middleware around that, and no setting to leave it out; so the
middleware does. What is lost is Ray's count of the requests. What is needed of Ray's handling is done here:
who hangs up ends the work on the request, and an answer has an id.
"""

from __future__ import annotations

import asyncio
import logging
import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("ray.serve")

_RAYS_OWN = "/-/"  # paths on which Ray tells HAProxy of the replica's health
_ID = b"x-request-id"


class Destination:
    """The application of this process, once it is built, and the event loop that it was built in."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, app: ASGIApp) -> None:
        """Have requests of this event loop go to an application."""
        self._app, self._loop = app, asyncio.get_running_loop()

    def get(self) -> ASGIApp | None:
        """Return it; None where it is not there yet, or lives in another event loop."""
        return self._app if self._loop is asyncio.get_running_loop() else None


#: Of this process. Ray makes both the ingress and the middleware here, and knows no way between them.
DESTINATION = Destination()


class ShortWay:
    """ASGI middleware around Ray's handling of requests: leaves it out where the application is at hand."""

    def __init__(self, app: ASGIApp, destination: Destination = DESTINATION) -> None:
        self._app = app
        self._destination = destination

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or to Ray."""
        app = self._destination.get()
        if app is None or scope["type"] != "http" or scope["path"].startswith(_RAYS_OWN):
            await self._app(scope, receive, send)
            return
        await _Visit(scope, receive, send).attend(app)


class _Visit:
    """One request; ended when its client hangs up."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._id = next((value for name, value in scope["headers"] if name == _ID), None) or _new_id()
        self._is_answered = self._has_left = False
        self._watch: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    async def attend(self, app: ASGIApp) -> None:
        """Run the application; when the client leaves it is cancelled, as Ray does."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._has_left or task.uncancel():
                raise
        except Exception:  # its caller has been told: the application words its own errors
            logger.exception("a request failed")
            if not self._is_answered:
                raise
        finally:
            if self._watch is not None:
                self._watch.cancel()

    async def receive(self) -> Message:
        """Return the next part of the body, and after the last one, that the client has left."""
        if self._watch is not None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
        elif not message.get("more_body", False):
            self._watch = asyncio.get_running_loop().create_task(self._wait_for_end())
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (_ID, self._id)]}
        elif not message.get("more_body", False):
            self._is_answered = True
        await self._send(message)

    async def _wait_for_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()
        if not self._is_answered:
            self._leave()

    def _leave(self) -> None:
        self._has_left = True
        self._task.cancel()


def _new_id() -> bytes:
    return os.urandom(16).hex().encode()
