"""What a report is told from: the version, its evaluation, the rounds' records and the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.versions.evaluation_file import read_evaluation, read_evaluation_file
from orchestrator.versions.mlflow_registry import Version, find_version, load_version, versions
from pipelines.answering.domains import DomainResult, measure_domains
from pipelines.learning.evidence import Evidence, read_evidence
from pipelines.selfplay.round_record import FROZEN, RoundFolder
from universe.pool_file import PLAN_NAME, POOL_NAME, PoolFile, read_pool_file
from warehouse import InputError, Warehouse
from warehouse.home import Home

if TYPE_CHECKING:
    from orchestrator import Orchestrator


@dataclass(frozen=True)
class Round:
    """A round that is over, as its record has it."""

    name: str
    steps: Mapping[str, Any]

    @property
    def question_ids(self) -> tuple[str, ...]:
        """Its questions."""
        return tuple(self.steps["questions"]["ids"])


@dataclass(frozen=True)
class Sources:
    """Of one version of one home.

    Attributes:
        home: where all of it lies.
        version: the router that is reported on.
        rounds: those that are over, in order; up to the one that is reported on.
        evaluation_file: another ``evaluation.json`` than the version's own.
    """

    home: Home
    version: Version
    rounds: tuple[Round, ...]
    evaluation_file: Path | None = None

    @cached_property
    def warehouse(self) -> Warehouse:
        """The answers."""
        return self.home.warehouse()

    @cached_property
    def evaluation(self) -> Mapping[str, Any] | None:
        """``evaluation.json`` of the version, or the one given; None where there is neither."""
        if self.evaluation_file is not None:
            return read_evaluation_file(self.evaluation_file)
        return read_evaluation(self.home.mlflow_uri, self.version.version)

    @cached_property
    def router(self) -> Orchestrator:
        """The router itself."""
        return load_version(self.home.mlflow_uri, self.version.version)

    @cached_property
    def round(self) -> Round | None:
        """The round that is reported on: the last one."""
        return self.rounds[-1] if self.rounds else None

    @cached_property
    def panel(self) -> tuple[str, ...]:
        """Who was asked in the round; without one, the experts of the version."""
        if self.round is None:
            return self.version.pool
        return tuple(self.round.steps["settings"]["experts"])

    @cached_property
    def plan(self) -> PoolFile | None:
        """The universe that the version's experts are, as it was kept; None where another one was."""
        for name in (POOL_NAME, PLAN_NAME):
            path = self.home.path / name
            plan = read_pool_file(path) if path.exists() else None
            if plan is not None and set(plan.experts) == set(self.version.pool):
                return plan
        return None

    @cached_property
    def frozen_ids(self) -> tuple[str, ...]:
        """The frozen set."""
        record = RoundFolder(self.home.rounds).record(FROZEN)
        return tuple(record["questions"]["ids"]) if "questions" in record else ()

    @cached_property
    def evidence(self) -> Evidence | None:
        """What was learned from, and what only tested on."""
        return read_evidence(self.warehouse, self.panel, self.frozen_ids)

    @cached_property
    def domain_results(self) -> tuple[DomainResult, ...]:
        """Each expert on each domain: of the round's questions, else of all that were learned from."""
        ids: tuple[str, ...] = ()
        if self.round is not None:
            ids = self.round.question_ids
        elif self.evidence is not None:
            ids = tuple(self.evidence.every.question_ids.tolist())
        with self.warehouse.connect() as connection:
            return tuple(measure_domains(connection, ids, self.panel))


def find_sources(
    home: Home,
    *,
    round: str | None = None,
    version: str | None = None,
    evaluation_file: Path | None = None,
) -> Sources:
    """Find what there is to report on.

    Args:
        home: whose.
        round: up to which; its version is reported on. None: all that are over.
        version: number or alias. None: the round's; without a round the champion.
        evaluation_file: another ``evaluation.json`` than the version's own.

    Raises:
        NotReadyError: no router is champion yet, or there is no such version.
        InputError: there is no such round, or it is not over.
    """
    done = _rounds(home)
    if round is not None:
        names = [known.name for known in done]
        if round not in names:
            raise InputError(
                f"no round {round!r} is over here",
                where=str(home.rounds),
                fix=f"use one of {', '.join(names)}" if names else "run `leeroo selfplay` first",
            )
        done = done[: names.index(round) + 1]
        version = version or str(done[-1].steps["result"]["version"])
    number = find_version(home.mlflow_uri, version or "champion")
    (known,) = [v for v in versions(home.mlflow_uri) if v.version == number]
    return Sources(home, known, tuple(done), evaluation_file)


def _rounds(home: Home) -> list[Round]:
    """Rounds that are over, the first ones first."""
    paths = sorted(home.rounds.glob("*.json"), key=lambda path: (path.stat().st_mtime, path.stem))
    records = {path.stem: RoundFolder(home.rounds).record(path.stem) for path in paths}
    steps = ("settings", "questions", "universe", "training", "evaluation", "promotion", "gaps", "result")
    return [
        Round(name, {step: record[step] for step in steps})
        for name, record in records.items()
        if all(step in record for step in steps)
    ]
