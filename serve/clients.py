"""What the gateway needs of the router and of the bookkeeper, wherever they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from serve.ledger import Caller, Grant, Refusal
from serve.router import Query, Ruling


class RouterClient(Protocol):
    """What the gateway needs of the router."""

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError when nobody may answer."""
        ...

    async def version(self) -> str:
        """Return the version of the orchestrator in use."""
        ...


class LedgerClient(Protocol):
    """What the gateway needs of the bookkeeper; see :class:`serve.bookkeeper.Bookkeeper`."""

    async def identify(self, secret_hash: str | None) -> Caller | None: ...  # noqa: D102
    async def reserve(  # noqa: D102
        self, caller: Caller, request_id: str, bounds_usd: Sequence[float]
    ) -> Grant | Refusal | float: ...
    async def settle(  # noqa: D102
        self, caller: Caller, request_id: str, cost_usd: float, decision: dict[str, Any] | None
    ) -> None: ...
    async def add_feedback(self, caller: Caller, request_id: str, score: float) -> bool: ...  # noqa: D102
