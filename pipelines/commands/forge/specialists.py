"""``leeroo forge run``: make a specialist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pipelines.commands.options import DEFAULT_HOME, AddressOption, CatalogueOption, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from experts.catalogue_file import Catalogue
    from pipelines.forge.gap import TargetGap
    from pipelines.forge.run import ForgeSettings
    from pipelines.forge.train import Measured

GapArgument = Annotated[
    str,
    typer.Argument(help="Domain or generator, as `arithmetic/chain_sum`; `leeroo forge gaps` lists them."),
]
Base = Annotated[
    str | None, typer.Option(help="Expert whose model is tuned; the cheapest that can be, by default.")
]
Levels = Annotated[str | None, typer.Option(help="Levels of the generator, by commas; all by default.")]
Weights = Annotated[
    str | None, typer.Option(help="Share of the training questions by level, as 1,2,2; even by default.")
]
Questions = Annotated[int, typer.Option(min=20, help="Training questions.")]
Validation = Annotated[int, typer.Option(min=10, help="Questions to watch the training by.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")]
Batch = Annotated[int, typer.Option(min=1, help="Questions of a step.")]
Rank = Annotated[int, typer.Option(min=1, help="Rank of the adapter.")]
Rate = Annotated[float, typer.Option(help="Highest learning rate.")]
Dtype = Annotated[str, typer.Option(help="Of the base's weights: float32 or bfloat16.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch decides.")]
Minutes = Annotated[float, typer.Option(help="Training stops after this many minutes.")]
Seed = Annotated[int, typer.Option(help="Of questions, adapter and order.")]
LicenceOption = Annotated[
    str | None, typer.Option(help="Licence of the base, where its model card does not state it.")
]
Workers = Annotated[
    int, typer.Option(min=0, help="Workers of a Ray cluster, a GPU each where it has any; 0: here.")
]
RecipeFile = Annotated[
    Path | None, typer.Option(help="YAML file of a recipe's fields; options given go before it.")
]
#: Options that are fields of a recipe.
FIELDS = {
    "steps": "steps", "batch": "batch_size", "rank": "rank", "learning_rate": "learning_rate",
    "dtype": "dtype", "threads": "threads", "minutes": "minutes", "seed": "seed",
}  # fmt: skip
Number = TypeVar("Number", int, float)


def register(group: typer.Typer) -> None:
    """Add the command to ``leeroo forge``."""
    group.command("run")(run)


def run(
    context: typer.Context,
    gap: GapArgument,
    base: Base = None,
    levels: Levels = None,
    weights: Weights = None,
    questions: Questions = 8_000,
    validation: Validation = 90,
    steps: Steps = 256,
    batch: Batch = 48,
    rank: Rank = 16,
    learning_rate: Rate = 2e-3,
    dtype: Dtype = "float32",
    threads: Threads = 0,
    minutes: Minutes = 60.0,
    seed: Seed = 0,
    workers: Workers = 0,
    recipe: RecipeFile = None,
    licence: LicenceOption = None,
    catalogue: CatalogueOption = None,
    address: AddressOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a specialist for a gap on generated, checked questions; the same command goes on after a kill.

    Nothing that matches the frozen set or falls to the evaluation side of the split is learned from.
    """
    from pipelines.commands.terminal.console import print_line
    from pipelines.forge.run import forge_specialist
    from pipelines.ray_session import Connection

    target, known, settings = read_settings(
        gap, catalogue, base=base, levels=levels, weights=weights, questions=questions, validation=validation,
        steps=steps, batch=batch, rank=rank, learning_rate=learning_rate, dtype=dtype, threads=threads,
        minutes=minutes, seed=seed, licence=licence,
    )  # fmt: skip
    settings = follow_recipe(context, settings, recipe, workers)
    with Connection(address) as connection:
        forged = forge_specialist(
            Home.open(home), target, known, settings, connect=connection.ensure, tell=print_line,
            on_measured=tell_measured,
        )  # fmt: skip
    made, trained = forged.specialist, forged.trained
    print_line(
        f"{made.name}: {trained['steps']} steps in {trained['spent_s'] / 60:.1f} minutes"
        f" ({trained['stopped']}), best at step {trained['best_step']}; in MLflow"
        f" {made.model} version {made.version}"
    )
    print_line(f"catalogue with it: {made.catalogue}")


def follow_recipe(
    context: typer.Context, settings: ForgeSettings, file: Path | None, workers: int
) -> ForgeSettings:
    """The settings with the recipe and the workers of a file, where the command line does not give them."""
    from dataclasses import replace

    from pipelines.forge.recipe import read_recipe

    def is_given(option: str) -> bool:
        source = context.get_parameter_source(option)
        return source is not None and source.name == "COMMANDLINE"

    fields, of_file = read_recipe(file) if file else ({}, workers)
    given = {field for option, field in FIELDS.items() if is_given(option)}
    given |= {"alpha"} if "rank" in given else set()
    recipe = replace(settings.recipe, **{name: fields[name] for name in fields if name not in given})
    return replace(settings, recipe=recipe, workers=workers if is_given("workers") else of_file)


def read_settings(
    gap: str,
    catalogue: object,
    *,
    base: str | None,
    levels: str | None,
    weights: str | None,
    questions: int,
    validation: int,
    steps: int,
    batch: int,
    rank: int,
    learning_rate: float,
    dtype: str,
    threads: int,
    minutes: float,
    seed: int,
    licence: str | None,
) -> tuple[TargetGap, Catalogue, ForgeSettings]:
    """The gap, the catalogue and the settings that the options name."""
    from experts import load_catalogue
    from pipelines.forge.base import cheapest_base
    from pipelines.forge.gap import find_target
    from pipelines.forge.recipe import TrainRecipe
    from pipelines.forge.run import ForgeSettings
    from warehouse import InputError, split_names

    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"no format {dtype!r}", where="--dtype", fix="use float32 or bfloat16")
    known = load_catalogue(catalogue if isinstance(catalogue, Path) else None)
    recipe = TrainRecipe(
        steps=steps, batch_size=batch, learning_rate=learning_rate, rank=rank, alpha=float(rank),
        dtype="float32" if dtype == "float32" else "bfloat16", threads=threads, minutes=minutes, seed=seed,
    )  # fmt: skip
    settings = ForgeSettings(
        base=base or cheapest_base(known),
        questions=questions,
        validation=validation,
        weights=tuple(_numbers(split_names(weights), "--weights", float)) or None,
        seed=seed,
        licence=licence,
        recipe=recipe,
    )
    return find_target(gap, levels=tuple(_numbers(split_names(levels), "--levels", int))), known, settings


def tell_measured(found: Measured) -> None:
    """Print what was measured on validation questions."""
    from pipelines.commands.terminal.console import print_line

    if "validation_loss" in found:
        accuracy = found.get("validation_accuracy")
        right = "" if accuracy is None else f", accuracy {accuracy:.3f}"
        print_line(f"  step {found['step']:.0f}: validation loss {found['validation_loss']:.4f}{right}")


def _numbers(texts: list[str], where: str, kind: Callable[[str], Number]) -> list[Number]:
    from warehouse import InputError

    try:
        return [kind(text) for text in texts]
    except ValueError as error:
        raise InputError("not a list of numbers", where=where, fix="write them as 0,1,2") from error
