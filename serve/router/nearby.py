"""Deciding where the request is: an ingress follows the router's line-up, and decides with the same files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import ray

from serve.config import ServeConfig
from serve.router.champion import find_directory
from serve.router.deciding import Decider, Loaded, load
from serve.router.messages import Lineup, Saved

logger = logging.getLogger("ray.serve")

LOOK_S = 1.0  # between looks at the line-up; with the router's own it stays below ten


def this_node() -> str:
    """Return the node that this process runs on; nothing outside of Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def lineup_of(decider: Decider) -> Lineup:
    """Return the versions that a decider uses, and where they lie on this node."""
    loaded = [one for one in (decider.champion, decider.challenger) if one is not None]
    return Lineup(
        node=this_node(),
        versions=tuple(one.saved for one in loaded if one.saved is not None),
        is_fast=all(one.is_fast for one in loaded),
    )


class NearbyDecider:
    """Follows the router's line-up, and offers a decider that is up to date where it can decide here."""

    def __init__(self, config: ServeConfig, find_lineup: Callable[[], Awaitable[Lineup]]) -> None:
        self._config = config
        self._find_lineup = find_lineup
        self._lineup: Lineup | None = None
        self._refused: Lineup | None = None  # one that cannot be loaded here
        self._decider: Decider | None = None
        self._here: dict[Saved, Loaded] = {}
        self._following: asyncio.Task[None] | None = None

    def get(self) -> Decider | None:
        """Return what decides here; None where the router's deployment has to."""
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow())
        return self._decider

    async def look(self) -> None:
        """Take over the line-up; where this node cannot decide by it, leave it to the deployment."""
        lineup = await self._find_lineup()
        if lineup == self._lineup:
            return
        if not lineup.is_fast:
            self._lineup, self._decider = lineup, None
            return
        try:
            champion, challenger = await asyncio.to_thread(self._load, lineup)
        except Exception:  # it is tried again: files may be on their way
            if lineup != self._refused:
                logger.exception("cannot decide here as the router does; it is asked instead")
            self._refused, self._decider = lineup, None
            return
        if self._decider is None:
            self._decider = Decider(self._config, champion)
        self._decider.champion, self._decider.challenger = champion, challenger
        self._lineup = lineup

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # the router starts again; what was known is good until it is back
                logger.warning("cannot ask the router for its line-up: %s", error)
            await asyncio.sleep(LOOK_S)

    def _load(self, lineup: Lineup) -> tuple[Loaded, Loaded | None]:
        load_new = _load_unchanged if lineup.node == this_node() else self._load_elsewhere
        self._here = {saved: self._here.get(saved) or load_new(saved) for saved in lineup.versions}
        champion, *challengers = self._here.values()
        return champion, challengers[0] if challengers else None

    def _load_elsewhere(self, saved: Saved) -> Loaded:
        """Return a version that the router has on another node: from the registry, where it never changes.

        Raises:
            NotReadyError: the registry has it no more.
            ValueError: it comes from a folder, of which nothing tells whether it is the same here.
        """
        if self._config.router_dir is not None:
            raise ValueError(f"{saved.directory} lies on the router's node")
        return load(saved.version, find_directory(self._config, saved.version))


def _load_unchanged(saved: Saved) -> Loaded:
    """Return a version as the router read it.

    Raises:
        ValueError: its files were written since.
    """
    loaded = load(saved.version, Path(saved.directory))
    if loaded.saved != saved:
        raise ValueError(f"the files in {saved.directory} have changed since the router read them")
    return loaded
