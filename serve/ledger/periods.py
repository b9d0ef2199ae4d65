"""The periods that budgets last, and what is left in one for each request to come."""

from __future__ import annotations

from datetime import UTC, datetime

from serve.ledger.picodollars import PICO_PER_USD

PERIODS = ("day", "month", "total")
THINNED_OVER = 0.02  # share of the foreseen requests over which the last of a paced budget is spread


def allowance_usd(paced_over: int | None, left: int | None, requests: int) -> float | None:
    """The budget left per remaining request; beyond the planned number of requests it shrinks gradually."""
    if paced_over is None or left is None:
        return None
    return max(left, 0) / PICO_PER_USD / max(paced_over - requests, paced_over * THINNED_OVER, 1)


def period_start(period: str, now: float) -> str:
    """Return the name of the period that contains a moment."""
    moment = datetime.fromtimestamp(now, UTC)
    return {"day": f"{moment:%Y-%m-%d}", "month": f"{moment:%Y-%m}", "total": "ever"}[period]
