"""The endpoint's own upkeep of its home's texts: expired texts go, and forgotten ones stay forgotten."""

from __future__ import annotations

import logging
import time

from serve.config import ServeConfig
from serve.ledger.traffic.carrying import warehouse_of
from warehouse.traffic.forgetting import carry_out_orders
from warehouse.traffic.retention import expire

logger = logging.getLogger("ray.serve")

ORDERS_EVERY_S = 600.0
EXPIRE_EVERY_S = 3600.0
_EMBEDDINGS = "cache/embeddings"  # in a home


class Upkeep:
    """Carries out orders to forget, and removes texts whose time is over; texts of an earlier mode too."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._orders_at = self._expire_at = 0.0  # on the clock of time.monotonic

    def run_if_due(self) -> None:
        """Do what is due; the first time all of it."""
        now, home = time.monotonic(), self._config.home
        if now < min(self._orders_at, self._expire_at):
            return
        warehouse = warehouse_of(self._config)
        if now >= self._orders_at:
            carry_out_orders(home, warehouse, home / _EMBEDDINGS)
            self._orders_at = now + ORDERS_EVERY_S
        if now >= self._expire_at:
            expired = expire(home, warehouse, max(1, self._config.keep_texts_days))
            if not expired.is_empty:
                logger.info("%d texts were over their time", expired.texts)
            self._expire_at = now + EXPIRE_EVERY_S
