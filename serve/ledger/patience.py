"""Wait while the ledger's database is away: it may be starting again, or another one takes its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from warehouse import LedgerAwayError

AWAY_FOR_S = 15.0  # less than whoever asks the bookkeeper waits for it
_AGAIN_S = 0.2

T = TypeVar("T")


async def patiently(do: Callable[[], T]) -> T:
    """Do what may be done again without harm, and again as long as the database is away.

    Raises:
        LedgerAwayError: it is away for long.
    """
    ends = time.monotonic() + AWAY_FOR_S
    while True:
        try:
            return do()
        except LedgerAwayError:
            if time.monotonic() > ends:
                raise
        await asyncio.sleep(_AGAIN_S)
