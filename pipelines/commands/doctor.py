"""`leeroo doctor`: what is installed, what this machine can run, and what to do about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, CsvOption, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

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
    as_csv: CsvOption = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove temporary files of killed commands, and exit.")
    ] = False,
) -> None:
    """Check the installation and the machine; exit code 1 when an expert of the catalogue cannot run here."""
    import json
    import sys

    from experts import default_cache_dir, load_catalogue, probe_hardware
    from pipelines.ray_folders import find_left, remove_left

    left = find_left()
    if clean:
        remove_left(left)
        for found in left:
            typer.echo(f"removed {found.path} ({found.size_bytes / 1e6:.1f} MB)")
        typer.echo(f"{len(left)} left by commands that were killed")
        return

    from pipelines.commands.terminal.console import Terminal
    from pipelines.diagnosis import diagnose

    diagnosis = diagnose(
        load_catalogue(catalogue),
        probe_hardware(),
        home=Home.open(home).path,
        cache=default_cache_dir(),
    )
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    elif as_csv:
        from pipelines.commands.terminal.query_output import write_records

        write_records(_records(diagnosis), sys.stdout, as_csv=True)
    else:
        print_diagnosis(diagnosis, Terminal())
        if left:
            size = sum(found.size_bytes for found in left) / 1e6
            typer.echo(f"Commands that were killed left {len(left)} folders and files ({size:.0f} MB): "
                       "`leeroo doctor --clean` removes them.")  # fmt: skip
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _records(diagnosis: Diagnosis) -> list[dict[str, object]]:
    """A row for each component, disk, expert and problem."""
    parts = [("component", one.name, one.version) for one in diagnosis.components]
    parts += [("disk, GiB free", str(disk.path), f"{disk.free_gib:.2f}") for disk in diagnosis.disks]
    parts += [("expert runs here", one.name, "yes" if one.runs else "no") for one in diagnosis.experts]
    rows: list[dict[str, object]] = [
        {"part": part, "name": name, "found": found} for part, name, found in parts
    ]
    rows += [
        {"part": "problem", "name": who, "found": what, "fix": fix} for who, what, fix in diagnosis.problems
    ]
    return rows


def print_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """Show it as tables, and at the end what to do."""
    from rich.text import Text

    console.print(component_table(diagnosis))
    console.print(machine_table(diagnosis))
    console.print(expert_table(diagnosis))
    for who, what, fix in diagnosis.problems:
        console.print(Text.assemble((who, "red"), f": {what}. To fix it: {fix}"), soft_wrap=True)
    if diagnosis.healthy:
        console.print("Everything in this catalogue can run here.", style="green")


def component_table(diagnosis: Diagnosis) -> Table:
    """Lay out what is installed."""
    from rich.table import Table
    from rich.text import Text

    installed = Table("Installed", "Version", title=f"Python {diagnosis.python}, {diagnosis.machine}")
    for component in diagnosis.components:
        missing = Text("missing", style="red" if component.required else "yellow")
        label = component.name
        if component.version and component.distribution != component.name.lower().replace("-", ""):
            label += f" ({component.distribution})"
        installed.add_row(label, component.version or missing)
    return installed


def machine_table(diagnosis: Diagnosis) -> Table:
    """Lay out what the machine is and holds."""
    from rich.table import Table

    from pipelines.diagnosis import telling_flags

    hardware = diagnosis.hardware
    machine = Table("This machine", "")
    machine.add_row("CPUs", str(hardware.cpu_count))
    machine.add_row("CPU flags that matter", " ".join(telling_flags(hardware)) or "none")
    machine.add_row("Number format on the CPU", hardware.cpu_dtype)
    for preload in diagnosis.preloads:
        lacks = f"not at hand; engines on the CPU are slower without ({preload.fix})"
        machine.add_row(f"{preload.name} for the engine", "yes" if preload.library else lacks)
    gpus = [f"{gpu.name}, {gpu.memory_gib:.0f} GiB" for gpu in hardware.gpus]
    machine.add_row("GPUs", "\n".join(gpus) or "none")
    machine.add_row("Memory", f"{hardware.memory_gib:.1f} GiB")
    for disk in diagnosis.disks:
        machine.add_row(f"Disk free for {disk.purpose}", f"{disk.free_gib:.1f} GiB  {disk.path}")
    machine.add_row("Front of an endpoint", diagnosis.front)
    machine.add_row("Recording of requests", diagnosis.recording)
    if diagnosis.books is not None:
        told = "match" if not diagnosis.books.faults else "do not match"
        if diagnosis.books.disputed_usd:
            told += f"; ${diagnosis.books.disputed_usd:.6g} disputed with upstreams, charged to no key"
        machine.add_row("Charges and calls", told)
    if diagnosis.traffic is not None:
        count = len(diagnosis.traffic.complaints)
        told = f"{count} beyond a threshold" if count else "nothing beyond a threshold"
        machine.add_row("Report on the traffic", f"{told}; of {diagnosis.traffic.made_at:%Y-%m-%d %H:%M} UTC")
    return machine


def expert_table(diagnosis: Diagnosis) -> Table:
    """Lay out which experts of the catalogue can run here."""
    from rich.table import Table
    from rich.text import Text

    experts = Table("Expert", "Backend", "Model", "Runs here", title=str(diagnosis.catalogue))
    for expert in diagnosis.experts:
        verdict = Text("yes", style="green") if expert.runs else Text("no", style="red")
        experts.add_row(expert.name, expert.backend, expert.model, verdict)
    return experts
