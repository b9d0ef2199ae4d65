"""`leeroo doctor`: what is installed, what this machine can run, and what to do about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from pipelines.readable_table import fit
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.diagnosis import Diagnosis


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)


def doctor(
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", help="Catalogue to check; the default catalogue if not given."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove temporary files of killed commands, and exit.")
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

    from pipelines.diagnosis import diagnose

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


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Show it as tables, and at the end what to do."""
    from rich.markup import escape
    from rich.table import Table

    from pipelines.diagnosis import telling_flags

    hardware = diagnosis.hardware
    installed = Table("Installed", "Version", title=f"Python {diagnosis.python}, {diagnosis.machine}")
    for component in diagnosis.components:
        missing = "[red]missing[/red]" if component.required else "[yellow]missing[/yellow]"
        label = component.name
        if component.version and component.distribution != component.name.lower().replace("-", ""):
            label += f" ({component.distribution})"
        installed.add_row(label, component.version or missing)
    console.print(fit(installed, console))

    machine = Table("This machine", "")
    machine.add_row("CPUs", str(hardware.cpu_count))
    machine.add_row("CPU flags that matter", " ".join(telling_flags(hardware)) or "none")
    machine.add_row("Number format on the CPU", hardware.cpu_dtype)
    for preload in diagnosis.preloads:
        lacks = f"not at hand; engines on the CPU are slower without ({preload.fix})"
        machine.add_row(f"{preload.name} for the engine", "yes" if preload.library else lacks)
    gpus = [f"{gpu.name}, {gpu.memory_gib:.0f} GiB" for gpu in hardware.gpus]
    machine.add_row("GPUs", "\n".join(map(escape, gpus)) or "none")
    machine.add_row("Memory", f"{hardware.memory_gib:.1f} GiB")
    for disk in diagnosis.disks:
        machine.add_row(f"Disk free for {disk.purpose}", f"{disk.free_gib:.1f} GiB  {escape(str(disk.path))}")
    machine.add_row("Front of an endpoint", escape(diagnosis.front))
    machine.add_row("Recording of requests", escape(diagnosis.recording))
    if diagnosis.books is not None:
        told = "match" if not diagnosis.books.faults else "do not match"
        if diagnosis.books.disputed_usd:
            told += f"; ${diagnosis.books.disputed_usd:.6g} disputed with upstreams, charged to no key"
        machine.add_row("Charges and calls", told)
    if diagnosis.traffic is not None:
        count = len(diagnosis.traffic.complaints)
        told = f"{count} beyond a threshold" if count else "nothing beyond a threshold"
        machine.add_row("Report on the traffic", f"{told}; of {diagnosis.traffic.made_at:%Y-%m-%d %H:%M} UTC")
    console.print(fit(machine, console))

    experts = Table("Expert", "Backend", "Model", "Runs here", title=escape(str(diagnosis.catalogue)))
    for expert in diagnosis.experts:
        verdict = "[green]yes[/green]" if expert.runs else "[red]no[/red]"
        experts.add_row(escape(expert.name), expert.backend, escape(expert.model), verdict)
    console.print(fit(experts, console))

    for who, what, fix in diagnosis.problems:
        console.print(f"[red]{escape(who)}[/red]: {escape(what)}. To fix it: {escape(fix)}", soft_wrap=True)
    if diagnosis.healthy:
        console.print("[green]Everything in this catalogue can run here.[/green]")
