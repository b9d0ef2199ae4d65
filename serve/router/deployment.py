"""The router: one deployment that follows the registry, keeps its versions on this node, and decides."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.selection.presets import Preset
from serve.config import ServeConfig
from serve.config.home_mark import check_home
from serve.router.canary import judge
from serve.router.champion import find_challenger, find_directory, find_version
from serve.router.deciding import Decider, Loaded, load, versions_of
from serve.router.messages import Lineup, Query, Refused, Ruling
from serve.router.nearby import lineup_of
from serve.transport.local_call import LocalServer
from serve.transport.local_socket import Address
from serve.transport.own_port import keep_port_on_this_machine

logger = logging.getLogger("ray.serve")

JUDGE_CANARY_S = 60.0  # between looks at a canary; the judgement holds however often one looks


class Router:
    """Holds the orchestrator and changes to a new champion while it serves.

    Where embeddings are static the ingresses of its node decide themselves, with the files that it names
    (:meth:`lineup`); otherwise it decides, many queries a call.
    """

    def __init__(self, config: ServeConfig) -> None:
        keep_port_on_this_machine()
        check_home(config.home, config.home_mark)
        self._config = config
        self._decider = Decider(config, load_version(config))
        try:
            self._decider.challenger = load_challenger(config, None)
        except Exception:  # it is looked for again while the champion decides
            logger.exception("cannot load the challenger; the champion decides alone")
        self._polling: asyncio.Task[None] | None = None
        self._judging: asyncio.Task[None] | None = None
        self._local = LocalServer(self.decide)
        self._lineup_local = LocalServer(self.lineup)

    async def address(self) -> Address | None:
        """Return where :meth:`decide` can be called on this node."""
        return await self._local.address()

    async def decide(self, queries: list[Query]) -> list[Ruling | Refused]:
        """Decide on the queries; an error, as a value, stands for one that nobody may answer."""
        self._watch()
        return self._decider.decide(queries)

    async def lineup_address(self) -> Address | None:
        """Return where :meth:`lineup` can be called on this node."""
        return await self._lineup_local.address()

    async def lineup(self, _asked: None = None) -> Lineup:
        """Return the versions that decide now, and where they lie."""
        self._watch()
        return lineup_of(self._decider)

    async def version(self) -> str:
        """Return the version of the champion in use."""
        self._watch()
        return self._decider.champion.version

    async def versions(self) -> tuple[str, str | None]:
        """Return the versions of champion and challenger in use."""
        self._watch()
        return versions_of(self._decider)

    async def presets(self) -> dict[str, Preset]:
        """Return the presets of the champion in use."""
        self._watch()
        return self._decider.champion.orchestrator.presets

    def _watch(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._follow_registry())
        if self._config.auto_promote and (self._judging is None or self._judging.done()):
            self._judging = asyncio.get_running_loop().create_task(self._judge_canary())

    async def _judge_canary(self) -> None:
        """Look at the canary for ever; the registry is told what it shows, and the router follows that."""
        while True:
            await asyncio.sleep(JUDGE_CANARY_S)
            champion, challenger = self._decider.champion, self._decider.challenger
            if challenger is None:
                continue
            try:
                await asyncio.to_thread(judge, self._config, champion, challenger)
            except Exception:  # what cannot be judged now is judged later
                logger.exception("cannot judge the canary of version %s", challenger.version)

    async def _follow_registry(self) -> None:
        """Look for new versions for ever; requests under way keep the orchestrator they began with."""
        decider = self._decider
        while True:
            await asyncio.sleep(self._config.poll_champion_s)
            try:
                version = await asyncio.to_thread(find_version, self._config)
                if version != decider.champion.version:
                    decider.champion = await asyncio.to_thread(load_version, self._config, version)
                    logger.info("the router now uses version %s", version)
                decider.challenger = await asyncio.to_thread(
                    load_challenger, self._config, decider.challenger
                )
            except Exception:  # a registry that is away must not stop the decisions
                logger.exception("cannot look for new versions; version %s stays", decider.champion.version)


def load_version(config: ServeConfig, version: str | None = None) -> Loaded:
    """Return a version of the registry, ready to decide; the champion when none is named."""
    wanted = version or find_version(config)
    return load(wanted, find_directory(config, wanted))


def load_challenger(config: ServeConfig, known: Loaded | None) -> Loaded | None:
    """Return the registry's challenger if it is wanted; ``known`` is not loaded again."""
    version = find_challenger(config) if config.shadow or config.canary_share else None
    if version is None or (known is not None and known.version == version):
        return known if version else None
    return load_version(config, version)
