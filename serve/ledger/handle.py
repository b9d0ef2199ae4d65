"""The bookkeeper as an ingress reaches it."""

from __future__ import annotations

from ray.serve.handle import DeploymentHandle

from serve.ledger.messages import Caller, Entry, Extension, Reservation, Reserved, Settlement
from serve.transport.coalescing import Coalescer
from serve.transport.patient_call import call, local_caller


class BookkeeperHandle:
    """Talks to the bookkeeper's deployment; see :class:`serve.ledger.bookkeeper.Bookkeeper`."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._write: Coalescer[Entry, Reserved | None] = Coalescer(local_caller(handle, "write"), most=256)

    async def identify(self, secret_hash: str | None) -> Caller | None:
        """Return who asks."""
        caller: Caller | None = await call(self._handle.identify, secret_hash)
        return caller

    async def reserve(self, reservation: Reservation) -> Reserved:
        """Set money aside."""
        reserved = await self._write(reservation)
        assert reserved is not None
        return reserved

    async def extend(self, extension: Extension) -> Reserved:
        """Set more money aside for a call under way; the grant is that of the whole call."""
        extended = await self._write(extension)
        assert extended is not None
        return extended

    async def settle(self, settlement: Settlement) -> None:
        """Charge a call and keep what is to be kept of it."""
        await self._write(settlement)

    async def add_feedback(self, caller: Caller, request_id: str, score: float) -> bool:
        """Attach a score to a decision."""
        return bool(await call(self._handle.add_feedback, caller, request_id, score))

    async def figures(self) -> bytes:
        """Return what was counted."""
        return bytes(await call(self._handle.figures))
