"""A second expert beside one that is slow: when it is asked, and whether the money set aside covers both.

Source: Dean and Barroso, *The tail at scale*, 2013.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from serve.experts.client import ExpertClient
from serve.ledger.messages import MOST_USD
from serve.request.asking.latencies import Latencies
from serve.request.in_flight import InFlight

_ROUNDING_USD = 1e-12


@dataclass(frozen=True)
class Hedging:
    """When the requests of one job are hedged, as the catalogue entry of the expert at work says.

    Attributes:
        job: the request, and the money set aside for it.
        latencies: of earlier answers.
        is_stream: whether the first token is what is waited for.
    """

    job: InFlight
    latencies: Latencies
    is_stream: bool

    def wait_s(self, expert: ExpertClient, asked_at: float) -> float | None:
        """Return in how many seconds another is asked beside an expert at work; None: not at all.

        Args:
            expert: the one at work.
            asked_at: since when, on the clock of ``time.monotonic``.
        """
        hedge, after_s = expert.spec.hedge, expert.spec.hedge.after_s
        if hedge.percentile is not None:
            after_s = self.latencies.percentile_s(expert.spec.name, hedge.percentile, self.is_stream)
        return None if after_s is None else max(0.0, asked_at + after_s - time.monotonic())

    def covers(self, expert: ExpertClient, other: ExpertClient) -> bool:
        """Tell whether what is set aside covers both: nothing is added to it for the sake of time."""
        most_usd = sum(min(self.job.asks[one.spec.name].most_usd, MOST_USD) for one in (expert, other))
        return most_usd <= self.job.purse.left_usd + _ROUNDING_USD


def hedging_of(job: InFlight, latencies: Latencies, *, is_stream: bool) -> Hedging | None:
    """Return how a request is hedged; None where no expert's entry says so, or where it explores.

    What an explored answer costs beyond the usual is limited; two answers would not be.
    """
    if job.dice.explores or not any(expert.spec.hedge.is_on for expert in job.order):
        return None
    return Hedging(job, latencies, is_stream)
