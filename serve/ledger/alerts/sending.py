"""Sends alerts from the outbox: to the log, and to a webhook until it takes them."""

from __future__ import annotations

import asyncio
import logging
import time

from serve.ledger.alerts.outbox import Alert, AlertBook
from serve.ledger.alerts.webhook import ANSWERS_WITHIN_S, Webhook

logger = logging.getLogger("ray.serve")

LOOK_EVERY_S = 1.0
_AT_ONCE = 16
_LEASE_S = 3 * ANSWERS_WITHIN_S  # longer than one attempt takes, whatever the receiver does


class AlertSender:
    """Sends what is in the outbox; several of them may do so for one ledger.

    Args:
        book: the outbox.
        webhook: where alerts go besides the log; None for nowhere.
    """

    def __init__(self, book: AlertBook, webhook: Webhook | None) -> None:
        self._book, self._webhook = book, webhook

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            try:
                await self.send_due()
            except Exception:
                logger.exception("alerts of budgets cannot be sent now; the next turn tries again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def send_due(self) -> int:
        """Send what is due now; return how many were tried."""
        if not self._book.has_due():
            return 0
        alerts = self._book.claim(_AT_ONCE, _LEASE_S)
        for alert in alerts:
            if alert.attempts == 1:
                logger.warning("budget alert %s: %s", alert.alert_id, alert.told)
        if self._webhook is None:
            for alert in alerts:
                self._book.sent(alert)
            return len(alerts)
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            await asyncio.gather(*(self._send(session, self._webhook, alert) for alert in alerts))
        return len(alerts)

    async def _send(self, session: object, webhook: Webhook, alert: Alert) -> None:
        why = await webhook.post(session, alert, time.time())
        if why is None:
            self._book.sent(alert)
        elif self._book.failed(alert):
            logger.error("budget alert %s: given up; the webhook did not take it (%s)", alert.alert_id, why)
        elif alert.attempts == 1:
            logger.warning("budget alert %s: the webhook did not take it (%s)", alert.alert_id, why)
