"""A decision, by the champion or the challenger: the same in an ingress and in the router's deployment."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import Decision, Orchestrator
from orchestrator.policy import saved_files
from orchestrator.text.embedder import weights_key
from orchestrator.text.queries import Queries
from orchestrator.text.registry import is_static
from serve.config import ServeConfig
from serve.router.messages import Features, Query, Refused, Ruling, Saved
from serve.router.paced_price import RecentForecasts, pace
from warehouse import InputError, NobodyMayAnswerError

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Loaded:
    """A version of the orchestrator, ready to decide."""

    version: str
    orchestrator: Orchestrator
    saved: Saved | None = None  # where it lies

    @property
    def is_fast(self) -> bool:
        """Whether it decides in a fraction of a millisecond: its embeddings are a look-up."""
        return is_static(self.orchestrator.embedder.name)

    def rule(self, queries: Sequence[Query]) -> list[Ruling | Refused]:
        """Decide on every query; one that nobody may answer gets the error in its place."""
        if not queries:
            return []
        wanted = any(query.wants_habits for query in queries)
        habits = self.orchestrator.asking_policy().habits if wanted else None
        read = self.orchestrator.read([query.text for query in queries])
        embedder = weights_key(self.orchestrator.embedder.weights)
        return [
            decision
            if isinstance(decision, Refused)
            else Ruling(
                decision,
                self.version,
                habits=habits if query.wants_habits else None,
                features=Features(embedder, read.embeddings[i].copy(), read.surface[i].copy()),
            )
            for i, (query, decision) in enumerate(
                zip(queries, decide_all(self.orchestrator, queries, read), strict=True)
            )
        ]


def rule_all(
    champion: Loaded,
    challenger: Loaded | None,
    queries: Sequence[Query],
    *,
    canary_share: float,
    shadow: bool,
) -> list[Ruling | Refused]:
    """Decide on every query: the champion, or the challenger for its canary share of them.

    With ``shadow`` the challenger decides on the champion's queries too, for the record. A challenger that
    fails is logged, and the champion decides.
    """
    if challenger is None:
        return champion.rule(queries)
    share, version = canary_share or None, challenger.version
    tried = [index for index, query in enumerate(queries) if is_canary(query.text, canary_share, version)]
    canaries = zip(tried, _try(challenger, [queries[index] for index in tried]), strict=True)
    ruled: dict[int, Ruling | Refused] = {
        index: replace(ruling, role="challenger") for index, ruling in canaries if isinstance(ruling, Ruling)
    }
    kept = [index for index in range(len(queries)) if index not in ruled]
    settled = champion.rule([queries[index] for index in kept])
    shadows = _try(challenger, [queries[index] for index in kept]) if shadow else [None] * len(kept)
    for index, ruling, other in zip(kept, settled, shadows, strict=True):
        if isinstance(ruling, Ruling) and isinstance(other, Ruling):
            ruling = replace(ruling, shadow=other)
        ruled[index] = ruling
    drawn = set(tried)
    return [
        replace(ruling, canary_share=share, is_canary=index in drawn)
        if isinstance(ruling, Ruling)
        else ruling
        for index, ruling in sorted(ruled.items())
    ]


def _try(challenger: Loaded, queries: Sequence[Query]) -> Sequence[Ruling | Refused | None]:
    try:
        return challenger.rule(queries)
    except Exception:
        logger.exception("the challenger, version %s, cannot decide", challenger.version)
        return [None] * len(queries)


def is_canary(text: str, share: float, version: str = "") -> bool:
    """Tell whether a query is among the share that the challenger decides.

    By its digest with the challenger's version: the same text always is or is not, on every replica, and for
    the next challenger it is drawn anew.
    """
    salt = version.encode()[: hashlib.blake2b.SALT_SIZE]
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest()) / 2**64
    return place < share


def decide_all(
    orchestrator: Orchestrator, queries: Sequence[Query], read: Queries
) -> list[Decision | Refused]:
    """Decide on every query, read already; one that nobody may answer gets the error in its place."""
    decided: list[Decision | Refused | None] = [None] * len(queries)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, query in enumerate(queries):
        groups.setdefault(query.limits, []).append(index)
    for members in groups.values():
        group = read if len(members) == len(queries) else read.take(np.array(members))
        try:
            decisions: list[Decision | Refused] = list(_decide(orchestrator, group, queries[members[0]]))
        except (InputError, NobodyMayAnswerError) as error:
            # A cost limit is judged query by query: find out which of the group it spoils.
            decisions = (
                [error]
                if len(members) == 1
                else [_decide_or_error(orchestrator, read.take(np.array([i])), queries[i]) for i in members]
            )
        for index, decision in zip(members, decisions, strict=True):
            decided[index] = decision
    return [decision for decision in decided if decision is not None]


def _decide_or_error(orchestrator: Orchestrator, read: Queries, query: Query) -> Decision | Refused:
    try:
        return _decide(orchestrator, read, query)[0]
    except (InputError, NobodyMayAnswerError) as error:
        return error


def _decide(orchestrator: Orchestrator, read: Queries, limits: Query) -> list[Decision]:
    allow = tuple(name for name in limits.allow or orchestrator.experts if name in orchestrator.experts)
    if not allow:
        raise NobodyMayAnswerError(
            f"the router knows none of {', '.join(limits.allow or ())}",
            fix=f"allow one of {', '.join(orchestrator.experts)}",
        )
    return orchestrator.decide_read(
        read,
        multiplier=limits.multiplier,
        preset=limits.preset,
        max_cost_usd=limits.max_cost_usd,
        min_success=limits.min_success,
        allow=allow,
        deny=tuple(name for name in limits.deny if name in allow) or None,
    )


def load(version: str, directory: Path) -> Loaded:
    """Return a version that lies in a directory; its arrays stay there, one copy for all of a node.

    Raises:
        NotReadyError: there is none.
        CannotRunError: it learned with other weights than are here.
    """
    directory = directory.absolute()
    changed_ns = max((path.stat().st_mtime_ns for path in saved_files(directory) if path.exists()), default=0)
    orchestrator = Orchestrator.load(directory, mapped=True)
    return Loaded(version, orchestrator, Saved(version, str(directory), changed_ns))


class Decider:
    """Decides with a champion and a challenger, which may be changed between decisions."""

    def __init__(self, config: ServeConfig, champion: Loaded, challenger: Loaded | None = None) -> None:
        self._config = config
        self.champion = champion
        self.challenger = challenger
        self._recent = RecentForecasts()

    def decide(self, queries: Sequence[Query]) -> list[Ruling | Refused]:
        """Decide on the queries; an error, as a value, stands for one that nobody may answer."""
        champion = self.champion
        ruled = rule_all(
            champion,
            self.challenger,
            [pace(query, self._recent, champion.orchestrator) for query in queries],
            canary_share=self._config.canary_share,
            shadow=self._config.shadow,
        )
        for ruling in ruled:
            if isinstance(ruling, Ruling) and ruling.version == champion.version:
                self._recent.add(ruling.decision)
        return ruled


def versions_of(decider: Decider) -> tuple[str, str | None]:
    """Return the versions of a decider's champion and challenger; None without one."""
    challenger = decider.challenger
    return decider.champion.version, None if challenger is None else challenger.version
