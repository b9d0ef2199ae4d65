"""`leeroo doctor`: what is installed, what this machine can run, and what to do about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)


def doctor(
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", help="Experts to check; the default catalogue when not given."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what commands that were killed left behind, and end.")
    ] = False,
) -> None:
    """Check the installation and the machine; exit code 1 when an expert of the catalogue cannot run here."""
    import json

    from rich.console import Console

    from experts import default_cache_dir, load_catalogue, probe_hardware
    from pipelines.ray_folders import find_left, remove_left

    left = find_left()
    if clean:
        remove_left(left)
        for found in left:
            typer.echo(f"removed {found.path} ({found.size_bytes / 1e6:.1f} MB)")
        typer.echo(f"{len(left)} left by commands that were killed")
        return

    from pipelines.diagnosis import diagnose, print_diagnosis

    diagnosis = diagnose(
        load_catalogue(catalogue),
        probe_hardware(),
        home=Home.open(home).path,
        cache=default_cache_dir(),
    )
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    else:
        print_diagnosis(diagnosis, Console())
        if left:
            size = sum(found.size_bytes for found in left) / 1e6
            typer.echo(f"Commands that were killed left {len(left)} folders and files ({size:.0f} MB): "
                       "`leeroo doctor --clean` removes them.")  # fmt: skip
    if not diagnosis.healthy:
        raise typer.Exit(1)
