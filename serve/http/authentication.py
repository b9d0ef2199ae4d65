"""Identify the caller by the key, before any part of a request's body is read."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.http.client_address import client_address
from serve.http.error_replies import error_reply
from serve.http.local_names import FOREIGN, is_local_name
from serve.ledger.messages import ENDED, Caller, Ended, hash_secret
from serve.request.candidates.door import check_door
from serve.wire.api_errors import ApiError
from serve.wire.dialects import dialect_of

KNOWN_FOR_S = 30.0  # what a key may is remembered so long; the ledger gives no answer by facts that are past
REST_FOR_S = 2.0  # the same for those without a key, who may have been let in until there was one
_MAX_KNOWN = 10_000


LetInAgain = Callable[[], Awaitable[Caller]]


class Identifier(Protocol):
    """The interface that looks up the owner of a key."""

    async def identify(self, secret_hash: str | None) -> Caller | Ended | None:
        """Return who asks, by the digest of a secret, or why it is none any more; None if it never was."""
        ...


class Authentication:
    """ASGI middleware: requests under ``/v1/`` need a valid key; ``scope["state"]["caller"]`` says whose.

    What a key may is remembered for requests that the ledger hears of before they are answered: it compares
    what is remembered with the key. ``scope["state"]["let_in_again"]`` reads it anew then; None where it was
    read for this very request.

    Args:
        app: what they go to.
        identifier: knows the keys.
        trusted_proxies: networks of proxies that are believed to tell whence a request comes.
    """

    def __init__(self, app: ASGIApp, identifier: Identifier, trusted_proxies: Sequence[str] = ()) -> None:
        self._app = app
        self._identifier = identifier
        self._trusted_proxies = trusted_proxies
        self._known: OrderedDict[str | None, tuple[float, Caller | Ended | None]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its key is valid."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            caller, again = await self._let_in(scope)
        except ApiError as error:
            await error_reply(error, scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {}).update(caller=caller, let_in_again=again)
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope, *, anew: bool = False) -> tuple[Caller, LetInAgain | None]:
        """Return who asks, and how to ask once more who that is; None where it was looked up just now.

        Raises:
            ApiError: nobody who may do that, from there.
        """
        secret, path = _secret_of(Headers(scope=scope)), scope["path"]
        anew = anew or not _is_heard_of(path)
        caller, is_remembered = await self._identify(hash_secret(secret) if secret else None, anew=anew)
        if not isinstance(caller, Caller):
            message = ENDED[caller or "revoked"] if secret else "give a key: Authorization: Bearer <key>"
            raise ApiError(401, message, code="invalid_api_key")
        if caller.key_id is None and not is_local_name(scope):
            raise FOREIGN
        try:
            address = None if caller.networks is None else client_address(scope, self._trusted_proxies)
            check_door(caller, path, address)
        except ApiError:
            if anew or not is_remembered:
                raise
            return await self._let_in(scope, anew=True)
        return caller, partial(self._let_in_anew, scope) if is_remembered else None

    async def _let_in_anew(self, scope: Scope) -> Caller:
        caller, _ = await self._let_in(scope, anew=True)
        return caller

    async def _identify(self, secret_hash: str | None, *, anew: bool) -> tuple[Caller | Ended | None, bool]:
        """Return who has a secret, and whether that is remembered; ``anew``: no key is."""
        now = time.monotonic()
        until, caller = self._known.get(secret_hash, (0.0, None))
        if now < until and not _has_ended(caller) and not (anew and _is_key(caller)):
            return caller, True
        caller = await self._identifier.identify(secret_hash)
        self._known[secret_hash] = (now + (KNOWN_FOR_S if _is_key(caller) else REST_FOR_S), caller)
        self._known.move_to_end(secret_hash)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return caller, False


def _is_heard_of(path: str) -> bool:
    """Tell whether the ledger is told of every request on a path before it is answered."""
    return dialect_of(path) is not None or path == "/v1/route"


def _is_key(caller: Caller | Ended | None) -> bool:
    return isinstance(caller, Caller) and caller.key_id is not None


def _has_ended(caller: Caller | Ended | None) -> bool:
    """Tell whether the time of a secret is over: that is known without asking anyone."""
    return isinstance(caller, Caller) and caller.valid_until is not None and caller.valid_until <= time.time()


def _secret_of(headers: Headers) -> str:
    """Return the key, as clients of OpenAI send it, or else as those of Anthropic do; empty for none."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind:
        return secret.strip() if kind.lower() == "bearer" else ""
    return headers.get("x-api-key", "").strip()
