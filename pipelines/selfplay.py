"""A self-play round: make questions, have experts answer, choose the universe, train and judge the router.

``python -m pipelines.selfplay`` is what a Ray job runs; ``leeroo selfplay`` is the same command. Every step
keeps what it finished, so a round that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.cluster import ray_session
from pipelines.home import Home
from pipelines.report import (
    DomainGap,
    DomainResult,
    console,
    domain_table,
    expert_table,
    find_domain_gaps,
    gap_lines,
    measure_domains,
    print_line,
    print_step,
)
from pipelines.tracking import tracked_run
from warehouse import InputError, Outcomes, load_outcomes

if TYPE_CHECKING:
    from experts import Catalogue
    from pipelines.answer import AnswerReceipt
    from pipelines.training import TrainingResult
    from universe import Universe


@dataclass(frozen=True)
class RoundConfig:
    """What a round does. Everything that decides its results is here and is logged to MLflow."""

    round: str = "r000"
    catalogue: str | None = None  # path; None: the default one
    questions: str | None = None  # file, folder or data set; None: generators
    limit: int | None = None  # of the questions of a file or data set
    domains: tuple[str, ...] | None = None  # of the generators; None: their default
    per_domain: int = 40
    seed: int = 0
    max_experts: int | None = None
    max_cost_usd: float | None = None  # mean cost of a query that the universe may have
    predictor: str = "knn"
    embedder: str = "minilm-int8+wordllama"
    seeds: int = 5  # splits of the evaluation
    address: str | None = None  # of the Ray cluster; None: the job's, RAY_ADDRESS's or a local one


@dataclass(frozen=True)
class RoundResult:
    """What a round found, and under which names it is kept."""

    config: RoundConfig
    run_id: str
    question_ids: tuple[str, ...]
    receipts: tuple[AnswerReceipt, ...]
    domains: tuple[DomainResult, ...]
    gaps: tuple[DomainGap, ...]
    universe: Universe
    training: TrainingResult


def run_round(config: RoundConfig, home: Home) -> RoundResult:
    """Run one round and print what each step found.

    Raises:
        InputError: the catalogue or the questions are bad, or an expert cannot run here; nothing is written.
    """
    from pipelines.training import train_version

    catalogue = load_runnable(config.catalogue)
    questions = load_round_questions(config)
    names = catalogue.names
    print_step(f"Round {config.round}: {questions.num_rows} questions for {len(names)} experts")
    params = asdict(config) | {"experts": ", ".join(names), "kind": "round"}
    with tracked_run(home, f"round {config.round}", params) as run_id:
        question_ids, receipts = answer_round(config, home, catalogue, questions, run_id)
        with home.warehouse().connect() as connection:
            domains = measure_domains(connection, question_ids, names)
        gaps = find_domain_gaps(domains)
        console.print(expert_table(domains, receipts))
        console.print(domain_table(domains))
        for line in gap_lines(gaps):
            print_line(line)
        outcomes = load_outcomes(home.warehouse(), experts=names)
        outcomes = outcomes.take(_positions(outcomes, question_ids))
        universe = choose_universe(config, home, outcomes)
        print_step("Router")
        # A universe of one needs no router; what is learned over all of them tells when to widen it.
        pool = universe.experts if len(universe.experts) > 1 else names
        training = train_version(
            outcomes.only(pool),
            home,
            predictor=config.predictor,
            embedder=config.embedder,
            seeds=config.seeds,
        )
        _log_round(receipts, domains, gaps, universe)
    print_line(
        f"MLflow run {run_id}, router version {training.version} ({training.standing}); look: `leeroo ui`"
    )
    return RoundResult(
        config, run_id, tuple(question_ids), tuple(receipts), tuple(domains), tuple(gaps), universe, training
    )


def load_runnable(path: str | None) -> Catalogue:
    """Load the catalogue and see that every expert's model is there and can run, before any work.

    Raises:
        InputError: a bad catalogue, or an expert that cannot be asked here (named, with the mend).
    """
    from experts import check_loadable, check_runnable, load_catalogue, probe_hardware

    catalogue = load_catalogue(path)
    hardware = probe_hardware()
    for spec in catalogue.experts:
        where = f"{catalogue.path}, expert {spec.name!r}"
        if spec.backend == "recorded":
            raise InputError(
                "recorded experts cannot be asked new questions", where=where, fix="leave it out"
            )
        # On a cluster the GPUs are on other machines; Ray waits for them and says so.
        for problem in check_runnable(spec, hardware) if spec.resources.num_gpus == 0 else ():
            raise InputError(problem.what, where=where, fix=problem.fix)
        check_loadable(spec, where=where)
    if len(catalogue.experts) < 2:
        raise InputError(
            "one expert leaves nothing to route", where=str(catalogue.path), fix="list two or more"
        )
    return catalogue


def load_round_questions(config: RoundConfig) -> pa.Table:
    """Make or load the round's questions; the same configuration gives the same questions.

    Raises:
        InputError: a bad file, or an unknown data set or domain.
    """
    from pipelines.questions import load_questions, make_questions

    if config.questions is not None:
        return load_questions(config.questions, limit=config.limit, seed=config.seed, round=config.round)
    return make_questions(config.domains, config.per_domain, config.seed, config.round)


def answer_round(
    config: RoundConfig, home: Home, catalogue: Catalogue, questions: pa.Table, run_id: str
) -> tuple[list[str], list[AnswerReceipt]]:
    """Store the questions, have every expert answer what it has not answered yet, and say so."""
    from pipelines.answer import answer_with_all, open_questions

    warehouse = home.warehouse()
    warehouse.append("questions", questions, round=config.round)
    if any(open_questions(warehouse, spec, questions).num_rows for spec in catalogue.experts):
        print_line("The experts answer (Ray Data, one actor pool per expert):")
        session: contextlib.AbstractContextManager[None] = ray_session(config.address)
    else:
        print_line("Every question has been answered before; nothing is asked twice.")
        session = contextlib.nullcontext()
    with session:
        receipts = answer_with_all(warehouse, catalogue.experts, questions, round=config.round, run_id=run_id)
    return questions["question_id"].to_pylist(), receipts


def choose_universe(config: RoundConfig, home: Home, outcomes: Outcomes) -> Universe:
    """Choose the experts to keep on cross-fitted expected success, print them, and make them the pool."""
    from pipelines.expected import expected_success
    from universe import apply_plan, select_universe
    from universe.pool import write_plan
    from universe.report import render_universe

    print_step("Universe")
    expected = expected_success(outcomes, embedder=config.embedder, cache_dir=home.embeddings)
    universe = select_universe(
        outcomes, expected=expected, max_experts=config.max_experts, max_cost_usd=config.max_cost_usd
    )
    console.print(render_universe(universe))
    write_plan(
        home.path, universe, {name: f"carries {s:.1%} of the queries" for name, s in universe.share.items()}
    )
    apply_plan(home.path)
    return universe


def _positions(outcomes: Outcomes, question_ids: Sequence[str]) -> pa.Array:
    import numpy as np

    return np.isin(outcomes.question_ids, np.array(question_ids))


def _log_round(
    receipts: Sequence[AnswerReceipt],
    domains: Sequence[DomainResult],
    gaps: Sequence[DomainGap],
    universe: Universe,
) -> None:
    import mlflow

    metrics = {f"answers/{r.expert}/{key}": float(getattr(r, key)) for r in receipts
               for key in ("asked", "reused", "failed", "cost_usd", "wall_s")}  # fmt: skip
    metrics |= {f"accuracy/{r.expert}/{r.domain}": r.accuracy for r in domains}
    metrics |= {f"universe/{key}": float(getattr(universe, key))
                for key in ("expected_score", "expected_cost_usd", "gap")}  # fmt: skip
    mlflow.log_metrics(metrics)
    mlflow.log_dict(
        {
            "receipts": [asdict(receipt) for receipt in receipts],
            "domains": [asdict(result) for result in domains],
            "gaps": [asdict(gap) for gap in gaps],
            "universe": list(universe.experts),
        },
        "round.json",
    )


if __name__ == "__main__":
    from pipelines.commands.selfplay import main

    main()
