"""The router: one deployment that holds the orchestrator and decides, many queries at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from ray import serve as ray_serve

from orchestrator import Decision, Orchestrator
from serve.champion import find_version, load_router
from serve.config import ServeConfig
from warehouse import InputError

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Query:
    """One text to decide on, with the limits on who may answer."""

    text: str
    preset: str | None = None
    multiplier: float | None = None
    max_cost_usd: float | None = None
    min_success: float | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[Any, ...]:
        """All but the text: queries with equal limits are decided in one pass."""
        return (self.preset, self.multiplier, self.max_cost_usd, self.min_success, self.allow, self.deny)


@dataclass(frozen=True)
class Ruling:
    """A decision and the version of the orchestrator that made it."""

    decision: Decision
    version: str


def decide_all(orchestrator: Orchestrator, queries: list[Query]) -> list[Decision | InputError]:
    """Decide on every query; one that nobody may answer gets the error in its place."""
    decided: list[Decision | InputError | None] = [None] * len(queries)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, query in enumerate(queries):
        groups.setdefault(query.limits, []).append(index)
    for members in groups.values():
        texts = [queries[index].text for index in members]
        try:
            decisions: list[Decision | InputError] = list(_decide(orchestrator, texts, queries[members[0]]))
        except InputError as error:
            # A cost limit is judged query by query: find out which of the group it spoils.
            decisions = (
                [error] if len(texts) == 1 else [_decide_or_error(orchestrator, queries[i]) for i in members]
            )
        for index, decision in zip(members, decisions, strict=True):
            decided[index] = decision
    return [decision for decision in decided if decision is not None]


def _decide_or_error(orchestrator: Orchestrator, query: Query) -> Decision | InputError:
    try:
        return _decide(orchestrator, [query.text], query)[0]
    except InputError as error:
        return error


def _decide(orchestrator: Orchestrator, texts: list[str], limits: Query) -> list[Decision]:
    allow = tuple(name for name in limits.allow or orchestrator.experts if name in orchestrator.experts)
    if not allow:
        raise InputError(
            f"the router knows none of {', '.join(limits.allow or ())}",
            fix=f"allow one of {', '.join(orchestrator.experts)}",
        )
    return orchestrator.decide(
        texts,
        multiplier=limits.multiplier,
        preset=limits.preset,
        max_cost_usd=limits.max_cost_usd,
        min_success=limits.min_success,
        allow=allow,
        deny=tuple(name for name in limits.deny if name in allow) or None,
    )


class Router:
    """Holds the orchestrator, decides in batches, and changes to a new champion while it serves."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._version, self._orchestrator = load_router(config)
        self._polling: asyncio.Task[None] | None = None

    def reconfigure(self, settings: dict[str, Any]) -> None:
        """Load the version that ``settings["version"]`` names, if it is not the one in use.

        Raises:
            InputError: the registry has no such version. The one in use stays.
        """
        wanted = settings.get("version")
        if wanted is not None and str(wanted) != self._version:
            self._version, self._orchestrator = load_router(self._config, str(wanted))

    async def decide(self, query: Query) -> Ruling | InputError:
        """Decide on one query, together with those that wait at the same moment.

        Returns an InputError when nobody may answer: as a value, since Ray wraps what is raised.
        """
        self._watch()
        return (await self._decide_batch(query))[0]  # type: ignore[no-any-return]

    async def version(self) -> str:
        """Return the version of the orchestrator in use."""
        self._watch()
        return self._version

    @ray_serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _decide_batch(self, queries: list[Query]) -> list[tuple[Ruling | InputError]]:
        version, orchestrator = self._version, self._orchestrator
        return [
            # In a tuple, since the batcher would raise an exception that stands alone.
            (decision if isinstance(decision, InputError) else Ruling(decision, version),)
            for decision in decide_all(orchestrator, queries)
        ]

    def _watch(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._follow_champion())

    async def _follow_champion(self) -> None:
        """Look for a new champion for ever; requests under way keep the orchestrator they began with."""
        while True:
            await asyncio.sleep(self._config.poll_champion_s)
            try:
                version = await asyncio.to_thread(find_version, self._config)
                if version != self._version:
                    loaded = await asyncio.to_thread(load_router, self._config, version)
                    self._version, self._orchestrator = loaded
                    logger.info("the router now uses version %s", version)
            except Exception:  # a registry that is away must not stop the decisions
                logger.exception("cannot look for a new champion; version %s stays", self._version)
