"""Which experts an operator has taken out of service, and the experts as the catalogue has them now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serve.config.orders import COME_BACK_S, ORDERS_NAME, Orders, read_orders
from serve.experts.client import ExpertClient
from serve.wire.api_errors import ApiError
from warehouse import LeerooError

logger = logging.getLogger("ray.serve")

LOOK_EVERY_S = 0.5

ReadAgain = Callable[[Mapping[str, ExpertClient]], Mapping[str, ExpertClient]]


class Service:
    """Follows the orders of a home, as requests come in.

    Args:
        home: where the orders are; see :mod:`serve.config.orders`.
        read_again: makes the experts' clients anew from the catalogue, given those in use; blocks. It raises
            LeerooError where the catalogue cannot be used; the experts then stay as they are.
        clock: in seconds.
    """

    def __init__(
        self, home: Path, read_again: ReadAgain | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._read_again, self._clock = home / ORDERS_NAME, read_again, clock
        self._looked_at = float("-inf")
        self._mark: tuple[int, ...] = ()
        self._orders = Orders()
        self._follow()
        self._reloads = self._orders.reloads  # whoever starts has read the catalogue just now
        self._reloading = asyncio.Lock()

    @property
    def drained(self) -> frozenset[str]:
        """The experts that no request is to be sent to."""
        return self._orders.drained

    @property
    def is_closed(self) -> bool:
        """Whether no new requests are taken."""
        return self._orders.closed_for_s is not None

    def refuse_if_closed(self) -> None:
        """Turn a new request away while the endpoint is closed.

        Raises:
            ApiError: 503, it is.
        """
        if (wait_s := self._orders.closed_for_s) is not None:
            told = "the endpoint is closed for maintenance; requests under way finish"
            raise ApiError(503, told, code="maintenance", retry_after_s=wait_s)

    async def look(self, now: Mapping[str, ExpertClient]) -> Mapping[str, ExpertClient] | None:
        """Look whether there are new orders; return other experts to use, None where they stay.

        A catalogue that cannot be used is logged.
        """
        if self._clock() - self._looked_at < LOOK_EVERY_S and not self._reloading.locked():
            return None
        self._follow()
        if self._orders.reloads == self._reloads and not self._reloading.locked():
            return None
        try:
            return await self.reload(now)
        except LeerooError as error:
            logger.error("the catalogue stays as it was: %s", error)
            return None

    async def reload(self, now: Mapping[str, ExpertClient]) -> Mapping[str, ExpertClient] | None:
        """Read the catalogue again; who comes meanwhile waits for it.

        Raises:
            LeerooError: it cannot be used.
        """
        async with self._reloading:
            if self._orders.reloads == self._reloads or self._read_again is None:
                return None
            self._reloads = self._orders.reloads
            return await asyncio.to_thread(self._read_again, now)

    def in_service(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the experts that are in service.

        Raises:
            ApiError: 503, none is.
        """
        left = tuple(name for name in names if name not in self.drained)
        if not left:
            raise ApiError(
                503,
                f"out of service for maintenance: {', '.join(names)}",
                code="unavailable",
                retry_after_s=COME_BACK_S,
            )
        return left

    def look_now(self) -> None:
        """Look at the next request whatever the time."""
        self._looked_at = float("-inf")

    def _follow(self) -> None:
        self._looked_at = self._clock()
        try:
            found = self._path.stat()
            mark = (found.st_mtime_ns, found.st_ino, found.st_size)
            if mark != self._mark:
                self._orders, self._mark = read_orders(self._path.parent), mark
        except FileNotFoundError:
            self._orders, self._mark = Orders(reloads=self._orders.reloads), ()
        except (OSError, LeerooError) as error:  # what was ordered last holds
            logger.error("the orders of this endpoint cannot be read: %s", error)
