"""The bookkeeper as an ingress reaches it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve.ledger.messages import (
    AdminAnswer,
    AdminOrder,
    Caller,
    Ended,
    Entry,
    Extension,
    Feedback,
    Heartbeat,
    Life,
    Pulse,
    Reservation,
    Reserved,
    Settled,
    Settlement,
    Taken,
    Unbooked,
    Written,
)
from serve.ledger.overview.seen import LedgerOverview
from serve.ledger.owners import BEAT_EVERY_S
from serve.transport.coalescing import Coalescer
from serve.transport.patient_call import call, local_caller
from serve.wire.api_errors import ApiError
from warehouse import LedgerAwayError

logger = logging.getLogger("ray.serve")

_FEEDBACK_AGAIN_S = 0.1
_SETTLED_WITHIN_S = 0.02  # nobody waits for a settlement: it goes with the next request's reservation


class BookkeeperHandle:
    """Talks to the bookkeeper's deployment; see :class:`serve.ledger.bookkeeper.Bookkeeper`.

    From the first request on it shows the bookkeeper that this process lives, and learns when to stop.

    Args:
        handle: of the deployment.
        is_alone: whether this is the only process that clients come to: then a settlement may wait for the
            next reservation, since whatever could miss it comes after it.
    """

    def __init__(self, handle: DeploymentHandle, *, is_alone: bool = False) -> None:
        self._settled_within_s = _SETTLED_WITHIN_S if is_alone else 0.0
        self.owner = f"ingress-{uuid.uuid4().hex}"
        self.life = Life()
        self._handle = handle
        self._beating: asyncio.Task[None] | None = None
        # Where nobody is there to write, that is so for all of a group.
        self._write: Coalescer[Entry, Written] = Coalescer(
            _refused_when_away(local_caller(handle, "write")), most=256, shared=(ApiError,)
        )
        self._ask = _refused_when_away(call)

    async def identify(self, secret_hash: str | None) -> Caller | Ended | None:
        """Return who asks, or why the secret is none any more."""
        self.show_life()
        caller: Caller | Ended | None = await self._ask(self._handle.identify, secret_hash)
        return caller

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Set money aside."""
        self.show_life()
        if not reservation.owner:
            reservation = replace(reservation, owner=self.owner)
        written = await self._write(reservation)
        if not isinstance(written, Reserved):
            raise _unbooked(written)
        return written

    async def extend(self, extension: Extension) -> Reserved:
        """Set more money aside for a call under way; the grant is that of the whole call."""
        written = await self._write(extension)
        if not isinstance(written, Reserved):
            raise _unbooked(written)
        return written

    async def settle(self, settlement: Settlement) -> Settled:
        """Charge a call and keep what is to be kept of it; sent before any reservation that comes later."""
        written = await self._write(settlement, within_s=self._settled_within_s)
        if not isinstance(written, Settled):
            raise _unbooked(written)
        return written

    async def add_feedback(self, caller: Caller, feedback: Feedback) -> Taken:
        """Write down what is said of an answer, once it is there: its settlement may still be on the way."""
        await self._write.flush()
        taken: Taken = await self._ask(self._handle.add_feedback, caller, feedback)
        if taken == "unknown":
            await asyncio.sleep(_FEEDBACK_AGAIN_S)  # the answer may have come from another process
            taken = await self._ask(self._handle.add_feedback, caller, feedback)
        return taken

    async def overview(self, caller: Caller, days: int) -> LedgerOverview:
        """Return what an operator or a key sees of the last days."""
        seen: LedgerOverview = await self._ask(self._handle.overview, caller, days)
        return seen

    async def administer(self, caller: Caller, order: AdminOrder) -> AdminAnswer:
        """Have the ledger do what an admin wants."""
        answer: AdminAnswer = await self._ask(self._handle.administer, caller, order)
        return answer

    async def figures(self) -> bytes:
        """Return what was counted."""
        return bytes(await self._ask(self._handle.figures))

    def show_life(self) -> None:
        """Begin to tell the bookkeeper, now and then, that this process lives."""
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            try:
                pulse = await self._write(Heartbeat(self.owner, self.life.under_way))
                if isinstance(pulse, Pulse) and pulse.is_draining:
                    self.life.drain(time.monotonic() + pulse.ends_in_s)
            except Exception:  # a bookkeeper that is starting again hears of us later
                logger.warning("the bookkeeper cannot be told that this process lives", exc_info=True)
            await asyncio.sleep(BEAT_EVERY_S)


def _refused_when_away(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Call as before; that the ledger's database is away for long is told as other parts that are."""

    async def called(*args: Any) -> Any:
        try:
            return await method(*args)
        except LedgerAwayError as error:
            raise ApiError(503, "the ledger cannot be reached", code="restarting", retry_after_s=5) from error

    return called


def _unbooked(written: Written) -> ApiError:
    told = written.message if isinstance(written, Unbooked) else "the ledger gave another answer"
    return ApiError(500, told, code="not_booked")
