"""Self-play: rounds that ask where the router knows least, learn, and say what each of them bought.

``python -m pipelines.selfplay`` is what a Ray job runs; ``leeroo selfplay`` is the same command. Every step
keeps what it finished, so a run that was stopped goes on where it was when the same command runs again.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.evaluation.improvement import FROZEN
from pipelines.commands.screen import console, print_line, print_step, purchase_table
from pipelines.learning.training import check_router_settings
from pipelines.selfplay.context import Laboratory
from pipelines.selfplay.learn import read_brief
from pipelines.selfplay.make_questions import freeze_questions
from pipelines.selfplay.round import RoundResult, result_line, run_round
from pipelines.tracked_run import tracked_run
from warehouse import InputError
from warehouse.home import Home
from warehouse.mlflow_runs import active_run

if TYPE_CHECKING:
    from experts import Catalogue, ExpertSpec
    from pipelines.questions.sources.base import QuestionSource

#: A run ends when less than this share of its budget is left.
LEFT_OVER = 0.02


@dataclass(frozen=True)
class SelfplayConfig:
    """What a run of rounds does. Everything that decides its results is here and is logged to MLflow."""

    round: str = "r000"  # the first round; the number at its end counts on
    rounds: int = 1
    budget_usd: float | None = None  # for all rounds and the frozen set together
    min_points_per_usd: float | None = None  # a round that gains less ends the run
    explore: float = 1.0  # share of the cost of asking everyone everything that a round may spend
    catalogue: str | None = None  # path; None: the default one
    questions: str | None = None  # file, folder or data set; None: generators
    limit: int | None = None  # of the questions of a file or data set
    frozen: str | None = None  # file, folder or data set of the frozen set; None: as the others
    frozen_questions: int = 80
    domains: tuple[str, ...] | None = None  # of the generators; None: their default
    per_domain: int = 40
    round_questions: int = 0  # in all; 0: per_domain for each domain
    writer: str | None = None  # expert that writes questions for the gaps
    written_share: float = 0.25  # of a round's questions, at most
    judge: str | None = None  # expert that grades `judged` questions; it answers none of them
    seed: int = 0
    max_experts: int | None = None
    max_cost_usd: float | None = None  # mean cost of a query that the universe may have
    predictor: str = "knn"
    embedder: str = "minilm-int8+wordllama"
    seeds: int = 5  # splits of the evaluation
    address: str | None = None  # of the Ray cluster; None: the job's, RAY_ADDRESS's or a local one

    def decisive(self, catalogue: Catalogue) -> dict[str, Any]:
        """The settings that must not change within a round: its questions and answers follow from them."""
        free = {"round", "rounds", "budget_usd", "min_points_per_usd", "address", "catalogue"}
        free |= {name for own in self.by_step().values() for name in own}
        kept = {name: value for name, value in asdict(self).items() if name not in free}
        return kept | {"experts": {spec.name: spec.version for spec in catalogue.experts}}

    def by_step(self) -> dict[str, dict[str, Any]]:
        """The settings that are first used after the answers are paid for; until then they may be mended.

        (Whom to ask may follow from the embedder too; that step's result stands, whatever comes after.)
        """
        return {
            "universe": {
                "max_experts": self.max_experts, "max_cost_usd": self.max_cost_usd, "embedder": self.embedder
            },
            "training": {"predictor": self.predictor, "embedder": self.embedder, "seeds": self.seeds},
        }  # fmt: skip


@dataclass(frozen=True)
class SelfplayResult:
    """What a run of rounds bought, and why it ended."""

    run_id: str
    rounds: tuple[RoundResult, ...]
    frozen_cost_usd: float
    stopped: str  # why no further round was run

    @property
    def cost_usd(self) -> float:
        """Money spent in all, earlier attempts included."""
        return self.frozen_cost_usd + sum(result.cost_usd for result in self.rounds)


def run_selfplay(config: SelfplayConfig, home: Home) -> SelfplayResult:
    """Run the rounds, print what each step found, and end with the table of what they bought.

    Raises:
        InputError: the settings, the catalogue or the questions are bad, an expert cannot run here, or the
            budget does not cover the frozen set; nothing is written.
    """
    _check(config)
    catalogue = load_runnable(config.catalogue)
    judge, catalogue = _seat_judge(config, catalogue)
    if config.writer is not None:
        catalogue.get(config.writer)
    learning, freezing, config = _open_sources(config)
    with Laboratory(config, home, catalogue, learning=learning, freezing=freezing, judge=judge) as lab:
        record = lab.record(f"run-from-{config.round}")
        resume = record["run"]["id"] if "run" in record else None
        params = asdict(config) | {"experts": ", ".join(catalogue.names), "kind": "selfplay"}
        with tracked_run(home, f"selfplay from {config.round}", params, resume=resume) as run_id:
            if resume != run_id:
                record.step("run", lambda: {"id": run_id})
            if config.writer is not None:
                lab.add_writer(config.writer, run_id)
            frozen_ids = freeze_questions(lab, run_id, _left_usd(lab))
            results, stopped = _play(lab, frozen_ids)
            result = SelfplayResult(run_id, tuple(results), lab.spent_usd(FROZEN), stopped)
            _log_run(result)
    print_step("What the rounds bought")
    console.print(purchase_table(result.rounds, result.frozen_cost_usd))
    print_line(f"{stopped} MLflow run {run_id}; look: `leeroo ui`")
    return result


def _play(lab: Laboratory, frozen_ids: list[str]) -> tuple[list[RoundResult], str]:
    config = lab.config
    results: list[RoundResult] = []
    brief = lab.first_brief(frozen_ids)
    for position, name in enumerate(round_names(config.round, config.rounds)):
        record = lab.record(name)
        if "result" in record:
            record.check(config.decisive(lab.catalogue), config.by_step())
            result = RoundResult.of(record["result"])
            print_step(f"Round {name} is done")
            print_line(result_line(result))
            brief = read_brief(lab, record, frozen_ids)
        else:
            allowance = None
            if config.budget_usd is not None:
                spent = lab.spent_usd(FROZEN) + sum(r.cost_usd for r in results)
                if config.budget_usd - spent < LEFT_OVER * config.budget_usd:
                    return (
                        results,
                        f"The budget of {config.budget_usd:.6g} USD is used up ({spent:.6g} spent).",
                    )
                allowance = (config.budget_usd - spent) / (config.rounds - position)
            result, brief = run_round(lab, name, frozen_ids, allowance, brief)
        results.append(result)
        if not result.questions:
            return results, f"Round {name} found no new questions."
        bar = config.min_points_per_usd
        if bar is not None and result.points_per_usd < bar:
            return results, (
                f"Round {name} gained {result.points_per_usd:.4g} points per USD, under the bar of {bar:.4g}:"
                " no further round."
            )
    return results, f"All {config.rounds} rounds are done."


def _left_usd(lab: Laboratory) -> float | None:
    """What the budget leaves after everything that earlier attempts at these rounds have spent."""
    if lab.config.budget_usd is None:
        return None
    names = [FROZEN, *round_names(lab.config.round, lab.config.rounds)]
    return max(lab.config.budget_usd - sum(map(lab.spent_usd, names)), 0.0)


def round_names(first: str, count: int) -> list[str]:
    """The names of ``count`` rounds, counted on from the number at the end of the first one's.

    >>> round_names("r009", 3), round_names("demo", 2)
    (['r009', 'r010', 'r011'], ['demo', 'demo-2'])
    """
    found = re.search(r"\d+$", first)
    if found is None:
        return [first, *(f"{first}-{i}" for i in range(2, count + 1))]
    number, width = int(found.group()), len(found.group())
    return [f"{first[: found.start()]}{number + i:0{width}d}" for i in range(count)]


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


def _seat_judge(config: SelfplayConfig, catalogue: Catalogue) -> tuple[ExpertSpec | None, Catalogue]:
    """The judge, and the experts without it: nobody grades their own answers."""
    from dataclasses import replace

    if config.judge is None:
        return None, catalogue
    judge = catalogue.get(config.judge)
    others = tuple(spec for spec in catalogue.experts if spec.name != judge.name)
    if len(others) < 2:
        raise InputError(
            f"beside the judge {judge.name!r} there is one expert, which leaves nothing to route",
            where=str(catalogue.path),
            fix="list two more; a model that judges and answers is listed under two names",
        )
    return judge, replace(catalogue, experts=others)


def _check(config: SelfplayConfig) -> None:
    if config.budget_usd is not None and not 0 < config.budget_usd < float("inf"):
        raise InputError(
            f"{config.budget_usd} USD is no budget", where="--budget-usd", fix="give more than 0"
        )
    if not 0 < config.explore <= 1:
        raise InputError(
            f"{config.explore} is no share", where="--explore", fix="give more than 0, at most 1"
        )
    if not re.fullmatch(r"[\w.-]+", config.round) or config.round == FROZEN:
        raise InputError(
            f"{config.round!r} cannot name a round", where="--round", fix="use letters and digits"
        )
    if config.domains and config.questions is not None:
        raise InputError(
            "domains choose among the generators, and the questions come from a file or data set",
            where="--domain with --questions",
            fix="leave one of them out",
        )
    if config.limit is not None and config.questions is None:
        raise InputError(
            "a limit is of a file or data set, and there is none",
            where="--limit without --questions",
            fix="use --per-domain for generators",
        )
    check_router_settings([config.predictor], config.embedder)


def _open_sources(
    config: SelfplayConfig,
) -> tuple[list[QuestionSource], QuestionSource, SelfplayConfig]:
    """Sources to learn from and to freeze from, opened and read; and the number of a round's questions."""
    from dataclasses import replace

    from pipelines.questions.sources.base import DatasetSource, GeneratorSource

    learning: QuestionSource
    if config.questions is not None:
        data = DatasetSource(config.questions, limit=config.limit, seed=config.seed)
        domains = len(set(data.questions["domain"].to_pylist()))
        learning = data
    else:
        generators = GeneratorSource(config.domains)
        domains, learning = generators.domain_count, generators
    freezing = learning
    if config.frozen is not None:
        freezing = DatasetSource(config.frozen)
        _ = freezing.questions
    count = config.round_questions or config.per_domain * domains
    return [learning], freezing, replace(config, round_questions=count)


def _log_run(result: SelfplayResult) -> None:
    run = active_run()
    run.log({"cost_usd": result.cost_usd})
    for step, purchase in enumerate(r.purchase for r in result.rounds):
        if purchase is not None:
            run.log({"accuracy_at_fixed_cost": purchase.after.value}, step=step)
    run.log_dict(asdict(result), "selfplay.json")
