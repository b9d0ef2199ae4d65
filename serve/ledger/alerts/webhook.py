"""The webhook that alerts go to, in the headers of the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from experts.upstream.credentials import handed_over
from serve.ledger.alerts.outbox import Alert
from warehouse import InputError

URL_VARIABLE, SECRET_VARIABLE = "LEEROO_ALERT_WEBHOOK", "LEEROO_ALERT_SECRET"
ANSWERS_WITHIN_S = 10.0
_LEAST_KEY_BYTES = 16  # fewer can be guessed from a message that was signed


@dataclass(frozen=True)
class Webhook:
    """Where alerts go. Its URL may itself be a secret: nothing logs it.

    Attributes:
        url: takes a POST.
        secret: signs what is sent; empty for none. ``whsec_`` and base64, or any text.
    """

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)

    def message(self, alert: Alert, now: float) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers for an alert; repeats have the same ``webhook-id``."""
        moment = datetime.fromtimestamp(alert.created_at, UTC)
        data = {
            "kind": alert.kind,
            "id": alert.account_id,
            "name": alert.name,
            "period": alert.period,
            "period_start": alert.period_start,
            "percent": alert.percent or None,
            "budget_usd": alert.budget_usd,
            "spent_usd": alert.spent_usd,
        }
        told = {"type": f"budget.{alert.event}", "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "data": data}
        body = json.dumps({"id": alert.alert_id, "text": alert.told} | told).encode()
        headers = {
            "content-type": "application/json",
            "webhook-id": alert.alert_id,
            "webhook-timestamp": str(int(now)),
        }
        if self.secret:
            signed = f"{alert.alert_id}.{int(now)}.".encode() + body
            digest = hmac.new(self._key(), signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return body, headers

    async def post(self, session: Any, alert: Alert, now: float) -> str | None:
        """Send an alert; return why it has not arrived, None if it has. Its answer's body is not read.

        Args:
            session: of aiohttp.
            alert: what is sent.
            now: seconds since 1970.
        """
        import aiohttp

        body, headers = self.message(alert, now)
        try:
            # Wherever it redirects to, nobody has named that for these figures.
            async with session.post(self.url, data=body, headers=headers, allow_redirects=False) as reply:
                return None if 200 <= reply.status < 300 else f"HTTP {reply.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return type(error).__name__  # its words may have the URL

    def _key(self) -> bytes:
        kind, _, coded = self.secret.partition("whsec_")
        if kind or not coded:
            return self.secret.encode()
        return base64.b64decode(coded, validate=True)


def read_webhook() -> Webhook | None:
    """Return the webhook that the environment names; None where it names none.

    Raises:
        InputError: it is no URL, or the secret cannot be read.
    """
    url, secret = (
        (os.environ.get(name) or handed_over(name) or "").strip() for name in (URL_VARIABLE, SECRET_VARIABLE)
    )
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise InputError("it is no URL", where=URL_VARIABLE, fix="write https://host/path")
    webhook = Webhook(url, secret)
    fix = f"write whsec_ and base64, or any other text, of {_LEAST_KEY_BYTES} bytes or more"
    try:
        key = webhook._key()
    except ValueError:
        raise InputError("what follows whsec_ is no base64", where=SECRET_VARIABLE, fix=fix) from None
    if secret and len(key) < _LEAST_KEY_BYTES:
        told = f"a key of {len(key)} bytes signs nothing that could not be forged"
        raise InputError(told, where=SECRET_VARIABLE, fix=fix)
    return webhook
