"""Make a specialist for a gap: questions, training, and its entry in MLflow and in a catalogue.

Each step is in the gap's record once it is done, so that the same call goes on after a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from experts import ExpertSpec
from experts.catalogue_file import Catalogue
from pipelines.forge.base import load_base
from pipelines.forge.examples import encode_choices, encode_examples
from pipelines.forge.gap import TargetGap
from pipelines.forge.leaks import EvaluationSet
from pipelines.forge.readiness import check_base
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.specialist import (
    Specialist,
    keep_adapter,
    register_adapter,
    specialist_spec,
    write_catalogue,
)
from pipelines.forge.train import Measured, TrainedAdapter, train_adapter
from pipelines.forge.training_questions import (
    TrainingQuestions,
    make_training_questions,
    reserved_questions,
)
from pipelines.forge.workers.group import ALONE, Group
from pipelines.forge.workers.ray_workers import run_on_workers
from pipelines.forge.workers.room import check_count, check_room, look_around
from pipelines.questions.sources.base import is_frozen
from pipelines.selfplay.round_record import FROZEN, RoundRecord, Step
from warehouse import CannotRunError
from warehouse.home import Home
from warehouse.mlflow_runs import EXPERIMENT, open_run


@dataclass(frozen=True)
class ForgeSettings:
    """What a specialist is made of: questions to learn from, and others to watch the learning by."""

    base: str
    questions: int = 8_000
    validation: int = 90
    weights: tuple[float, ...] | None = None  # share of the questions by level
    seed: int = 0
    licence: str | None = None
    workers: int = 0  # of a Ray cluster; 0: this process trains
    recipe: TrainRecipe = field(default_factory=TrainRecipe)


@dataclass(frozen=True)
class Forged:
    """A specialist, and how it came about."""

    specialist: Specialist
    trained: Step
    leaks: int
    fingerprint: str


Tell = Callable[[str], None]
SHOWN = 20  # leaks that the record names


def forge_folder(home: Home, gap: TargetGap) -> Path:
    """The folder of a home in which a gap's specialist is made."""
    return home.path / "forge" / gap.slug


class PausedError(Exception):
    """The training has come as far as it was to; the same call goes on from there."""


def forge_specialist(
    home: Home,
    gap: TargetGap,
    known: Catalogue,
    settings: ForgeSettings,
    *,
    pause_at: int | None = None,
    connect: Callable[[], None] = lambda: None,
    tell: Tell = lambda line: None,
    on_measured: Callable[[Measured], None] = lambda measured: None,
) -> Forged:
    """Make an adapter of a base that learns a gap, and register it.

    Args:
        home: whose warehouse, whose evaluation sets may not be given away.
        gap: what it is to learn.
        known: the catalogue with the base.
        settings: how.
        pause_at: step of the training to end at; None: its last one.
        connect: called before anything else where workers train; must establish a Ray connection.
        tell: told in a sentence what happens.
        on_measured: told what training measures.

    Raises:
        InputError, CannotRunError, TooFewError: it cannot be made; see :mod:`pipelines.forge.readiness`.
        PausedError: the training has come to ``pause_at``.
    """
    base, folder = known.get(settings.base), forge_folder(home, gap)
    gpus = _seat_workers(settings, connect)
    licence, size = check_base(base, settings.recipe, folder, licence=settings.licence, cluster_gpus=gpus)
    record = RoundRecord(folder / "record.json")
    record.check(_fixed(settings))
    questions, made = _questions(home, gap, settings, folder, record)
    tell(
        f"{questions.train.num_rows:,} questions to learn from, {questions.validation.num_rows} to validate;"
        f" {made['leaks']} that give away an evaluation question were refused"
    )
    kept = record["mlflow"]["run_id"] if "mlflow" in record else None
    params = _fixed(settings)["recipe"] | {"gap": gap.name, "base": base.name, "licence": licence.name}
    with open_run(home.mlflow_uri, EXPERIMENT, f"forge {gap.name}", params=params, resume=kept) as run:
        if not kept:
            profile = {"train": questions.train.num_rows, "validation": questions.validation.num_rows}
            run.log_dataset(f"gap {gap.name}", made["fingerprint"], context="training", profile=profile)
            run.log({"trainable_parameters": size.trainable}, tags={"gap": gap.name, "base": base.model})
        record.step("mlflow", lambda: {"run_id": run.id})

        def measured(found: Measured) -> None:
            step = int(found["step"])
            run.log({key: value for key, value in found.items() if key != "step"}, step=step)
            on_measured(found)

        def train() -> Step:
            tell(f"training {size.trainable:,} of {size.base:,} parameters of {base.name}")
            learn = partial(
                learn_questions, base, questions, made["fingerprint"], settings.recipe, folder.absolute(),
                pause_at=pause_at,
            )  # fmt: skip
            if settings.workers:
                done = run_on_workers(
                    learn, settings.workers, folder / "ray", use_gpus=gpus > 0, tell=measured
                )
            else:
                done = learn(tell=measured)
            if done.stopped == "pause":
                raise PausedError
            if done.stopped == "time":
                raise CannotRunError(
                    f"training stopped at its cap of {settings.recipe.minutes:g} minutes,"
                    f" at step {done.steps} of {settings.recipe.steps}",
                    where=gap.name,
                    fix="run the same command with a larger --minutes; it goes on from there",
                )
            return _as_step(done, keep_adapter(done.folder, folder))

        trained = record.step("train", train)
        adapter = Path(trained["adapter"])

        def register() -> Step:
            facts = {"data_fingerprint": made["fingerprint"], "best_step": trained["best_step"]}
            model, version = register_adapter(run, gap, adapter, base=base, licence=licence, facts=facts)
            return {"model": model, "version": version}

        registered = record.step("register", register)
    spec = specialist_spec(base, f"{base.name}-{gap.slug}", adapter, gap)
    catalogue = write_catalogue(known, spec, folder / "catalogue.yaml", note=licence.note)
    specialist = Specialist(
        spec.name, adapter, catalogue, registered["model"], registered["version"], record["mlflow"]["run_id"]
    )
    return Forged(specialist, trained, made["leaks"], made["fingerprint"])


def learn_questions(
    base: ExpertSpec,
    questions: TrainingQuestions,
    fingerprint: str,
    recipe: TrainRecipe,
    folder: Path,
    *,
    pause_at: int | None = None,
    group: Group = ALONE,
    tell: Callable[[Measured], None] = lambda measured: None,
) -> TrainedAdapter:
    """Train an adapter of a base on questions, as the base is asked them; goes on from what is in ``folder``.

    Args:
        base: the expert that is tuned.
        questions: to learn from, and to watch the learning by.
        fingerprint: of these.
        recipe: how.
        folder: for checkpoints and the adapter.
        pause_at: step to pause at; None: it goes on to its end.
        group: of workers that train it.
        tell: told what was measured, as it is.
    """
    model, tokenizer = load_base(base, recipe)
    return train_adapter(
        model,
        encode_examples(questions.train, base, tokenizer),
        encode_examples(questions.validation, base, tokenizer),
        encode_choices(questions.validation, base, tokenizer),
        recipe,
        folder,
        identity=f"{fingerprint} {base.version}",
        pause_at=pause_at,
        tell=tell,
        group=group,
    )


def evaluation_questions(home: Home) -> pa.Table:
    """QUESTIONS rows of a home that nothing may be learned from: the frozen set and its side of the split."""
    table = home.warehouse().scan("questions")
    rows = table.select(["prompt", "round"]).to_pylist()
    keep = [row["round"] == FROZEN or is_frozen(row) for row in rows]
    return table.filter(pa.array(keep, pa.bool_()))


def learned_questions(home: Home, gap: TargetGap) -> pa.Table:
    """QUESTIONS rows that a gap's specialist has learned from."""
    return pq.read_table(forge_folder(home, gap) / "train.parquet")


def _questions(
    home: Home, gap: TargetGap, settings: ForgeSettings, folder: Path, record: RoundRecord
) -> tuple[TrainingQuestions, Step]:
    """Make the questions, or read those that a run before this one made."""
    files = [folder / "train.parquet", folder / "validation.parquet"]

    def make() -> Step:
        evaluation = EvaluationSet(evaluation_questions(home))
        evaluation.add(reserved_questions(gap))
        made = make_training_questions(
            gap, evaluation, count=settings.questions,
            validation_count=settings.validation, seed=settings.seed, weights=settings.weights,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        for file, table in zip(files, (made.train, made.validation), strict=True):
            pq.write_table(table, file)
        return {
            "fingerprint": made.fingerprint,
            "leaks": len(made.leaks),
            "refused": [str(x) for x in made.leaks[:SHOWN]],
        }

    kept = record.step("questions", make)
    return TrainingQuestions(pq.read_table(files[0]), pq.read_table(files[1]), ()), kept


def _seat_workers(settings: ForgeSettings, connect: Callable[[], None]) -> float:
    """See that the cluster has room for the workers; return its GPUs, 0 where this process trains."""
    if not settings.workers:
        return 0.0
    check_count(settings.workers, settings.recipe.batch_size)
    connect()
    room = look_around()
    check_room(settings.workers, room)
    return room.gpus


def _as_step(done: TrainedAdapter, adapter: Path) -> Step:
    losses = [m for m in done.history if "validation_loss" in m]
    return {
        "adapter": str(adapter), "best_step": done.best_step, "steps": done.steps, "stopped": done.stopped,
        "spent_s": done.spent_s, "trainable": done.trainable, "validation": losses,
    }  # fmt: skip


def _fixed(settings: ForgeSettings) -> dict[str, Any]:
    """What may not change once a specialist is begun."""
    fixed = asdict(settings) | {"recipe": settings.recipe.to_params()}
    for free in ("minutes", "threads", "checkpoint_every"):
        fixed["recipe"].pop(free)
    fixed.pop("workers")  # with more or fewer of them it ends the same
    return fixed
