"""A caller's place at the door, where requests are decided and money is set aside for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from serve.request.turns.places import QueueFullError, Turns


class Turn:
    """A caller's place while a block runs; who has waited so long for one goes without.

    Args:
        turns: at the door.
        caller: whose place.
        patience_s: how long to wait for it.
        goes_on: the request is not done with the block; ``turns.finish`` is called once it is answered.
    """

    def __init__(self, turns: Turns, caller: str, patience_s: float, *, goes_on: bool = False) -> None:
        self._turns, self._caller, self._patience_s, self._goes_on = turns, caller, patience_s, goes_on
        self._has_place = False

    async def __aenter__(self) -> Self:
        """Wait for a place."""
        if self._turns.take_free(self._caller):
            self._has_place = True
            return self
        with suppress(TimeoutError, QueueFullError):
            async with asyncio.timeout(self._patience_s):
                await self._turns.take(self._caller)
            self._has_place = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give it back."""
        if self._has_place:
            self._has_place = False
            self._turns.free(self._caller)
            if kind is not None or not self._goes_on:
                self._turns.finish(self._caller)
