"""How full the budgets are, whether the ledger answers, and what is under way: for Prometheus to scrape."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serve.ledger.ledger import Ledger

logger = logging.getLogger("ray.serve")

MOST_KEYS = 50  # the fullest; each is a time series of its own
LOOK_EVERY_S = 10.0  # into the ledger, however often somebody scrapes


class BudgetGauges(Collector):
    """Reads the ledger now and then when somebody asks.

    A key is named by its id, which lets nobody in; neither its name nor its owner is told to those who may
    read the metrics.

    Args:
        ledger: whose keys.
        count_under_way: returns the requests that the ingresses work on.
    """

    def __init__(self, ledger: Ledger, count_under_way: Callable[[], int]) -> None:
        self._ledger = ledger
        self._count_under_way = count_under_way
        self._looked = -LOOK_EVERY_S
        self._shares: list[tuple[str, str, float]] = []
        self._answers = False

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; none of keys while the ledger does not answer."""
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._look()
        up = GaugeMetricFamily("leeroo_ledger_up", "1 if the ledger answered when it was last asked, else 0")
        up.add_metric([], float(self._answers))
        used = GaugeMetricFamily(
            "leeroo_key_budget_used_ratio",
            f"share of a key's budget that is spent or set aside, of the {MOST_KEYS} fullest keys",
            labels=["key_id", "period"],
        )
        for key_id, period, share in self._shares:
            used.add_metric([key_id, period], share)
        under_way = GaugeMetricFamily(
            "leeroo_requests_under_way", "requests that the ingresses work on, as they last told"
        )
        under_way.add_metric([], self._count_under_way())
        yield from (up, used, under_way)

    def _look(self) -> None:
        try:
            fullest, _ = self._ledger.fullest_keys(MOST_KEYS)
        except Exception as error:  # whatever a database may say: the other figures are told all the same
            logger.warning("the ledger cannot be asked for its budgets: %s", error)
            self._answers, self._shares = False, []
        else:
            self._answers = True
            self._shares = [
                (key.key_id, key.period, (key.spent_usd + key.reserved_usd) / key.budget_usd)
                for key in fullest
                if key.budget_usd
            ]
        self._looked = time.monotonic()
