"""The gateway's interfaces to the router and the bookkeeper, wherever they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.selection.presets import Preset
from serve.ledger.messages import (
    AdminAnswer,
    AdminOrder,
    Caller,
    Ended,
    Extension,
    Feedback,
    Life,
    Reservation,
    Reserved,
    Settled,
    Settlement,
    Taken,
)
from serve.ledger.overview.seen import LedgerOverview
from serve.router.messages import Query, Ruling
from serve.tracing.messages import NotedTrace, Sampled


class RouterClient(Protocol):
    """The gateway's interface to the router."""

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError or NobodyMayAnswerError where it cannot be."""
        ...

    async def version(self) -> str:
        """Return the version of the orchestrator in use."""
        ...

    async def versions(self) -> tuple[str, str | None]:
        """Return the versions of champion and challenger in use."""
        ...

    async def presets(self) -> Mapping[str, Preset]:
        """Return the presets of the orchestrator in use, and what they are expected to come to."""
        ...


class LedgerClient(Protocol):
    """The gateway's interface to the bookkeeper; see :class:`serve.ledger.bookkeeper.Bookkeeper`.

    It names the owner of reservations that have none: this process, of whose life it tells.
    """

    life: Life

    async def identify(self, secret_hash: str | None) -> Caller | Ended | None: ...  # noqa: D102
    async def reserve(self, reservation: Reservation) -> Reserved: ...  # noqa: D102
    async def extend(self, extension: Extension) -> Reserved: ...  # noqa: D102
    async def settle(self, settlement: Settlement) -> Settled: ...  # noqa: D102
    async def add_feedback(self, caller: Caller, feedback: Feedback) -> Taken: ...  # noqa: D102
    async def administer(self, caller: Caller, order: AdminOrder) -> AdminAnswer: ...  # noqa: D102
    async def figures(self) -> bytes: ...  # noqa: D102
    async def overview(self, caller: Caller, days: int) -> LedgerOverview: ...  # noqa: D102


class TraceClient(Protocol):
    """The gateway's interface to the collector of traces. It never waits, and never fails a request."""

    @property
    def pending(self) -> int:
        """How many traces are still here."""
        ...

    def begin(self, traceparent: str | None) -> Sampled | None:
        """Tell whether a request is traced; its caller may have said so in a header."""
        ...

    def take(self, trace: NotedTrace) -> None:
        """Take what was noted of a request, if there is room for it."""
        ...

    async def figures(self) -> bytes:
        """Return what became of the spans, in Prometheus's text format; empty where nobody can tell."""
        ...
