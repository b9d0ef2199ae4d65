"""The router: one deployment that holds the orchestrator and decides, many queries at once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import Decision, Orchestrator
from serve.config import ServeConfig
from serve.router.champion import find_challenger, find_version, load_router
from serve.router.messages import Query, Refused, Ruling
from serve.router.paced_price import RecentForecasts, pace
from serve.transport.local_call import Address, LocalServer
from serve.transport.own_port import keep_port_on_this_machine
from warehouse import InputError, NobodyMayAnswerError

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Loaded:
    """A version of the orchestrator, ready to decide."""

    version: str
    orchestrator: Orchestrator

    def rule(self, queries: Sequence[Query]) -> list[Ruling | Refused]:
        """Decide on every query; one that nobody may answer gets the error in its place."""
        return [
            decision if isinstance(decision, Refused) else Ruling(decision, self.version)
            for decision in decide_all(self.orchestrator, queries)
        ]


def rule_all(
    champion: Loaded,
    challenger: Loaded | None,
    queries: Sequence[Query],
    *,
    canary_share: float,
    shadow: bool,
) -> list[Ruling | Refused]:
    """Decide on every query: the champion, or the challenger for its canary share of the questions.

    With ``shadow`` the challenger decides on the champion's questions too, for the record. A challenger that
    fails is logged, and the champion decides.
    """
    if challenger is None:
        return champion.rule(queries)
    tried = [index for index, query in enumerate(queries) if is_canary(query.text, canary_share)]
    canaries = zip(tried, _try(challenger, [queries[index] for index in tried]), strict=True)
    ruled: dict[int, Ruling | Refused] = {
        index: ruling for index, ruling in canaries if isinstance(ruling, Ruling)
    }
    kept = [index for index in range(len(queries)) if index not in ruled]
    settled = champion.rule([queries[index] for index in kept])
    shadows = _try(challenger, [queries[index] for index in kept]) if shadow else [None] * len(kept)
    for index, ruling, other in zip(kept, settled, shadows, strict=True):
        if isinstance(ruling, Ruling) and isinstance(other, Ruling):
            ruling = replace(ruling, shadow=other)
        ruled[index] = ruling
    return [ruled[index] for index in range(len(queries))]


def _try(challenger: Loaded, queries: Sequence[Query]) -> Sequence[Ruling | Refused | None]:
    try:
        return challenger.rule(queries)
    except Exception:
        logger.exception("the challenger, version %s, cannot decide", challenger.version)
        return [None] * len(queries)


def is_canary(text: str, share: float) -> bool:
    """Tell whether a question is among the share that the challenger decides.

    By its digest: the same question always is or is not, on every replica.
    """
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
    return place < share


def decide_all(orchestrator: Orchestrator, queries: Sequence[Query]) -> list[Decision | Refused]:
    """Decide on every query; one that nobody may answer gets the error in its place."""
    decided: list[Decision | Refused | None] = [None] * len(queries)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, query in enumerate(queries):
        groups.setdefault(query.limits, []).append(index)
    for members in groups.values():
        texts = [queries[index].text for index in members]
        try:
            decisions: list[Decision | Refused] = list(_decide(orchestrator, texts, queries[members[0]]))
        except (InputError, NobodyMayAnswerError) as error:
            # A cost limit is judged query by query: find out which of the group it spoils.
            decisions = (
                [error] if len(texts) == 1 else [_decide_or_error(orchestrator, queries[i]) for i in members]
            )
        for index, decision in zip(members, decisions, strict=True):
            decided[index] = decision
    return [decision for decision in decided if decision is not None]


def _decide_or_error(orchestrator: Orchestrator, query: Query) -> Decision | Refused:
    try:
        return _decide(orchestrator, [query.text], query)[0]
    except (InputError, NobodyMayAnswerError) as error:
        return error


def _decide(orchestrator: Orchestrator, texts: list[str], limits: Query) -> list[Decision]:
    allow = tuple(name for name in limits.allow or orchestrator.experts if name in orchestrator.experts)
    if not allow:
        raise NobodyMayAnswerError(
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
    """Holds the orchestrator, decides many queries a call, and changes to a new champion while it serves."""

    def __init__(self, config: ServeConfig) -> None:
        keep_port_on_this_machine()
        self._config = config
        self._champion = Loaded(*load_router(config))
        self._challenger: Loaded | None = None
        try:
            self._challenger = load_challenger(config, None)
        except Exception:  # it is looked for again while the champion decides
            logger.exception("cannot load the challenger; the champion decides alone")
        self._recent = RecentForecasts()
        self._polling: asyncio.Task[None] | None = None
        self._local = LocalServer(self.decide)

    async def address(self) -> Address:
        """Return where :meth:`decide` can be called on this node."""
        return await self._local.address()

    async def decide(self, queries: list[Query]) -> list[Ruling | Refused]:
        """Decide on the queries; an error, as a value, stands for one that nobody may answer."""
        self._watch()
        champion = self._champion
        ruled = rule_all(
            champion,
            self._challenger,
            [pace(query, self._recent, champion.orchestrator) for query in queries],
            canary_share=self._config.canary_share,
            shadow=self._config.shadow,
        )
        for ruling in ruled:
            if isinstance(ruling, Ruling) and ruling.version == champion.version:
                self._recent.add(ruling.decision)
        return ruled

    async def version(self) -> str:
        """Return the version of the champion in use."""
        self._watch()
        return self._champion.version

    def _watch(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._follow_registry())

    async def _follow_registry(self) -> None:
        """Look for new versions for ever; requests under way keep the orchestrator they began with."""
        while True:
            await asyncio.sleep(self._config.poll_champion_s)
            try:
                version = await asyncio.to_thread(find_version, self._config)
                if version != self._champion.version:
                    self._champion = Loaded(*await asyncio.to_thread(load_router, self._config, version))
                    logger.info("the router now uses version %s", version)
                self._challenger = await asyncio.to_thread(load_challenger, self._config, self._challenger)
            except Exception:  # a registry that is away must not stop the decisions
                logger.exception("cannot look for new versions; version %s stays", self._champion.version)


def load_challenger(config: ServeConfig, known: Loaded | None) -> Loaded | None:
    """Return the registry's challenger if it is wanted; ``known`` is not loaded again."""
    version = find_challenger(config) if config.shadow or config.canary_share else None
    if version is None or (known is not None and known.version == version):
        return known if version else None
    return Loaded(*load_router(config, version))
