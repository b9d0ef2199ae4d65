"""Identify the caller by the key, before any part of a request's body is read."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.http.client_address import client_address
from serve.http.error_replies import error_reply
from serve.http.local_names import FOREIGN, is_local_name
from serve.ledger.messages import ENDED, Caller, Ended, hash_secret
from serve.request.candidates.door import check_door
from serve.wire.api_errors import ApiError

KNOWN_FOR_S = 30.0  # how long a revoked key may still pass here; the ledger gives it no answer all the same
REST_FOR_S = 2.0  # the same for those without a key, who may have been let in until there was one
_MAX_KNOWN = 10_000


class Identifier(Protocol):
    """The interface that looks up the owner of a key."""

    async def identify(self, secret_hash: str | None) -> Caller | Ended | None:
        """Return who asks, by the digest of a secret, or why it is none any more; None if it never was."""
        ...


class Authentication:
    """ASGI middleware: requests under ``/v1/`` need a valid key; ``scope["state"]["caller"]`` says whose.

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
        secret, path = _secret_of(Headers(scope=scope)), scope["path"]
        try:
            caller = await self._identify(hash_secret(secret) if secret else None)
        except ApiError as error:
            await error_reply(error, path)(scope, receive, send)
            return
        if not isinstance(caller, Caller):
            message = ENDED[caller or "revoked"] if secret else "give a key: Authorization: Bearer <key>"
            refusal = ApiError(401, message, code="invalid_api_key")
            await error_reply(refusal, path)(scope, receive, send)
            return
        if caller.key_id is None and not is_local_name(scope):
            await error_reply(FOREIGN, path)(scope, receive, send)
            return
        try:
            address = None if caller.networks is None else client_address(scope, self._trusted_proxies)
            check_door(caller, path, address)
        except ApiError as error:
            await error_reply(error, path)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _identify(self, secret_hash: str | None) -> Caller | Ended | None:
        now = time.monotonic()
        known = self._known.get(secret_hash)
        if known is not None and now < known[0] and not _has_ended(known[1]):
            return known[1]
        caller = await self._identifier.identify(secret_hash)
        is_key = isinstance(caller, Caller) and caller.key_id is not None
        self._known[secret_hash] = (now + (KNOWN_FOR_S if is_key else REST_FOR_S), caller)
        self._known.move_to_end(secret_hash)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return caller


def _has_ended(caller: Caller | Ended | None) -> bool:
    """Tell whether the time of a secret is over: that is known without asking anyone."""
    return isinstance(caller, Caller) and caller.valid_until is not None and caller.valid_until <= time.time()


def _secret_of(headers: Headers) -> str:
    """Return the key, as clients of OpenAI send it, or else as those of Anthropic do; empty for none."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind:
        return secret.strip() if kind.lower() == "bearer" else ""
    return headers.get("x-api-key", "").strip()
