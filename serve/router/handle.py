"""The router as an ingress reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ray.serve.handle import DeploymentHandle

from orchestrator.selection.presets import Preset
from serve.config import ServeConfig
from serve.router.deciding import versions_of
from serve.router.messages import Query, Refused, Ruling
from serve.router.nearby import NearbyDecider
from serve.transport.coalescing import Coalescer
from serve.transport.patient_call import call, local_caller


class RouterHandle:
    """Decides here where the router's embeddings are static; else its deployment does."""

    def __init__(self, handle: DeploymentHandle, config: ServeConfig) -> None:
        self._handle = handle
        find_lineup = local_caller(handle, "lineup", address="lineup_address")
        self._nearby = NearbyDecider(config, partial(find_lineup, None))
        self._ask_deployment = local_caller(handle, "decide")
        # What comes in one turn of the event loop is decided together, which takes half of the time each.
        # Small groups, so that the first of many requests need not wait for the decisions on all.
        self._decide: Coalescer[Query, Ruling | Refused] = Coalescer(self._decide_all, most=8)

    async def decide(self, query: Query) -> Ruling:
        """Decide on one query; InputError or NobodyMayAnswerError where it cannot be."""
        ruling = await self._decide(query)
        if isinstance(ruling, Refused):
            raise ruling
        return ruling

    async def _decide_all(self, queries: list[Query]) -> Sequence[Ruling | Refused]:
        decider = self._nearby.get()
        if decider is not None:
            return decider.decide(queries)
        ruled: Sequence[Ruling | Refused] = await self._ask_deployment(queries)
        return ruled

    async def version(self) -> str:
        """Return the version of the champion in use."""
        decider = self._nearby.get()
        return decider.champion.version if decider else str(await call(self._handle.version))

    async def versions(self) -> tuple[str, str | None]:
        """Return the versions of champion and challenger in use; None without a challenger."""
        decider = self._nearby.get()
        if decider is None:
            champion, challenger = await call(self._handle.versions)
            return str(champion), challenger
        return versions_of(decider)

    async def presets(self) -> Mapping[str, Preset]:
        """Return the presets of the champion in use."""
        decider = self._nearby.get()
        if decider is not None:
            return decider.champion.orchestrator.presets
        presets: Mapping[str, Preset] = await call(self._handle.presets)
        return presets
