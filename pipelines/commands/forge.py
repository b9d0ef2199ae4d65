"""``leeroo forge``: from a gap to a specialist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from pipelines.commands.options import DEFAULT_HOME, CatalogueOption, HomeOption
from warehouse.home import Home

GapArgument = Annotated[
    str, typer.Argument(help="Domain or generator, as `arithmetic/chain_sum`; `leeroo gaps` names domains.")
]
BaseOption = Annotated[
    str | None, typer.Option(help="Expert whose model is tuned; the cheapest that can be, by default.")
]
Number = TypeVar("Number", int, float)
LevelsOption = Annotated[str | None, typer.Option(help="Levels of the generator, by commas; all by default.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(
        help="Make a specialist for a gap: a LoRA adapter of a small model, tested before it is used.",
        no_args_is_help=True,
    )
    group.command("run")(run)
    app.add_typer(group, name="forge")


def run(
    gap: GapArgument,
    base: BaseOption = None,
    levels: LevelsOption = None,
    weights: Annotated[
        str | None, typer.Option(help="Share of the training questions by level, as 1,2,2; even by default.")
    ] = None,
    questions: Annotated[int, typer.Option(min=20, help="Training questions.")] = 8_000,
    validation: Annotated[int, typer.Option(min=10, help="Questions to watch the training by.")] = 90,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 400,
    batch: Annotated[int, typer.Option(min=1, help="Questions of a step.")] = 32,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    dtype: Annotated[str, typer.Option(help="Of the base's weights: float32 or bfloat16.")] = "float32",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: torch decides.")] = 0,
    minutes: Annotated[float, typer.Option(help="Training stops at this many minutes.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of questions, adapter and order.")] = 0,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the base, where its model card does not state it.")
    ] = None,
    catalogue: CatalogueOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Train a specialist for a gap on generated, checked questions; the same command goes on after a kill.

    Nothing that matches the frozen set or falls to the evaluation side of the split is learned from.
    """
    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from pipelines.forge.base import cheapest_base
    from pipelines.forge.gap import find_target
    from pipelines.forge.recipe import TrainRecipe
    from pipelines.forge.run import ForgeSettings, forge_specialist
    from pipelines.forge.train import Measured
    from warehouse import InputError, split_names

    place, known = Home.open(home), load_catalogue(catalogue)
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"no format {dtype!r}", where="--dtype", fix="use float32 or bfloat16")
    target = find_target(gap, levels=tuple(_numbers(split_names(levels), "--levels", int)))
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

    def on_measured(found: Measured) -> None:
        if "validation_loss" in found:
            accuracy = found.get("validation_accuracy")
            right = "" if accuracy is None else f", accuracy {accuracy:.3f}"
            print_line(f"  step {found['step']:.0f}: validation loss {found['validation_loss']:.4f}{right}")

    forged = forge_specialist(place, target, known, settings, tell=print_line, on_measured=on_measured)
    made, trained = forged.specialist, forged.trained
    print_line(
        f"{made.name}: {trained['steps']} steps in {trained['spent_s'] / 60:.1f} minutes"
        f" ({trained['stopped']}), best at step {trained['best_step']}; in MLflow"
        f" {made.model} version {made.version}"
    )
    print_line(f"catalogue with it: {made.catalogue}")


def _numbers(texts: list[str], where: str, kind: Callable[[str], Number]) -> list[Number]:
    from warehouse import InputError

    try:
        return [kind(text) for text in texts]
    except ValueError as error:
        raise InputError("not a list of numbers", where=where, fix="write them as 0,1,2") from error
