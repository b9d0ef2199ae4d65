"""What the endpoint costs as a gateway, beside others in front of the same API: ``make bench-gateway``.

In one run, in turn, each in processes and an environment of its own: the API itself, which answers at once;
a plain ASGI application that passes on; LiteLLM's proxy, bare and with keys and budgets on PostgreSQL; and
ours with a key with a budget, asked for an expert by name and for a routed answer. CPU is that of all
processes of a gateway, without the API's and the clients': the figure that a busy machine blurs least.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from bench.gateway import gateways as ways
from bench.gateway.comparing import FULL, QUICK, compare, figures_of, idle_cpu
from bench.gateway.endurance import compare_crowding, endure
from bench.gateway.gateways import CannotStartError, Gateway, Ours
from bench.gateway.usage import memory_mib

NAMES = ("asgi", "litellm", "litellm-keys", "ours")
_IDLE_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="five cells, in less than three minutes")
    parser.add_argument(
        "--seconds", type=float, help="of each gateway in each cell (2, or 6 without --quick)"
    )
    parser.add_argument("--rounds", type=int, help="turns that these seconds are split into (1, or 3)")
    parser.add_argument(
        "--clients", type=int, nargs="+", help="only cells with so many clients (1, 8, 32, 128)"
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="gateways to compare")
    parser.add_argument("--no-cells", action="store_true", help="leave the comparison out")
    parser.add_argument(
        "--load", action="store_true", help="then ask ours at 128 clients: failures, books, memory, fairness"
    )
    parser.add_argument("--requests", type=int, default=5_300, help="of that, one in 18 of them a stream")
    parser.add_argument("--embedder", default="wordllama", help="of our router")
    parser.add_argument(
        "--profile",
        type=Path,
        help="record ours with py-spy meanwhile: .svg, .json (speedscope) or .txt (raw)",
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    # As Ctrl-C, so that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console(width=None if sys.stdout.isatty() else 120)
    figures: dict[str, Any] = {"machine": _machine(), "skipped": {}}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        bare = stack.enter_context(ways.upstream(folder))
        compared, endpoint = _start(stack, folder, bare, options, figures["skipped"], console)
        figures["idle_cpu_ms_per_s"] = idle_cpu(compared[1:], _IDLE_S)
        profiling = options.profile is not None and endpoint is not None
        with _profile(endpoint, options.profile) if profiling and endpoint else contextlib.nullcontext():
            uvloop.run(_measure(compared, endpoint, options, figures, console))
        figures["memory_mib"] = {way.name: memory_mib(way.roots) for way in compared[1:]}
        _report(figures, console)  # before all is stopped, which takes a while
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _start(
    stack: ExitStack,
    folder: Path,
    bare: Gateway,
    options: argparse.Namespace,
    skipped: dict[str, str],
    console: Console,
) -> tuple[list[Gateway], Ours | None]:
    """Start the gateways asked for; what does not run here is told, and left out."""
    api = bare.address.url.removesuffix("/v1/chat/completions")
    compared, endpoint = [bare], None
    others: dict[str, Callable[[], AbstractContextManager[Gateway]]] = {
        "asgi": lambda: ways.passing(folder, api),
        "litellm": lambda: ways.litellm(folder, api),
        "litellm-keys": lambda: ways.litellm_with_keys(folder, api),
    }
    for name, start in others.items():
        if name in options.only:
            with console.status(f"starting {name}"):
                try:
                    compared.append(stack.enter_context(start()))
                except CannotStartError as error:
                    skipped[name] = str(error)
                    console.print(f"{name} is left out: {error}", soft_wrap=True)
    if "ours" in options.only:
        with console.status("starting ours"):
            endpoint = stack.enter_context(ways.ours(folder, api, options.embedder))
        secret = endpoint.make_key("bench")
        for name, model in (("ours, named", ways.EXPERTS[0]), ("ours, routed", "leeroo")):
            compared.append(Gateway(name, endpoint.address(model, secret), (endpoint.root,)))
    return compared, endpoint


async def _measure(
    compared: list[Gateway],
    endpoint: Ours | None,
    options: argparse.Namespace,
    figures: dict[str, Any],
    console: Console,
) -> None:
    if not options.no_cells:
        found = await compare(
            compared,
            [
                cell
                for cell in (QUICK if options.quick else FULL)
                if not options.clients or cell.clients in options.clients
            ],
            seconds=options.seconds or (2.0 if options.quick else 6.0),
            rounds=options.rounds or (1 if options.quick else 3),
            tell=console.print,
        )
        figures["cells"] = [figures_of(cell, measured) for cell, measured in found.items()]
    if options.load and endpoint is not None:
        figures["load"] = await endure(endpoint, options.requests, console.print)
        figures["fairness"] = await compare_crowding(endpoint, 5.0 if options.quick else 10.0, console.print)


@contextlib.contextmanager
def _profile(endpoint: Ours, path: Path) -> Iterator[None]:
    """Record where all Python processes of ours spend their time, into one file."""
    formats = {".svg": "flamegraph", ".json": "speedscope"}
    command = [str(ways.BIN / "py-spy"), "record", "--subprocesses", "--nonblocking", "--rate", "50"]
    command += ["--pid", str(endpoint.root.pid), "--output", str(path), "--duration", "100000"]
    command += ["--format", formats.get(path.suffix, "raw")]
    recording = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        recording.send_signal(signal.SIGINT)  # it then writes its file
        recording.wait(60)


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "litellm": ways.LITELLM,
        "arguments": sys.argv[1:],
    }


def _report(figures: dict[str, Any], console: Console) -> None:
    """Print a table of each cell with the CPU of ours by part, then memory and what idling takes."""
    for cell in figures.get("cells", ()):
        kind = "streamed" if cell["streamed"] else "whole"
        table = Table(
            *("way", "per s", "added p50, ms", "p99", "first added p50, ms", "p99", "CPU ms a request"),
            *("of LiteLLM's", "failed"),
            title=f"{cell['clients']} clients, {kind}, {cell['prompt_tokens']:,} tokens",
        )
        peer_ms = cell["gateways"].get("LiteLLM", {}).get("cpu_ms")
        for name, of in cell["gateways"].items():
            firsts = [f"{of[f'first_added_{q}_ms']:.1f}" if cell["streamed"] else "" for q in ("p50", "p99")]
            added = [f"{of[f'added_{q}_ms']:.1f}" for q in ("p50", "p99")]
            share = f"{of['cpu_ms'] / peer_ms:.0%}" if peer_ms else ""
            table.add_row(
                name, f"{of['per_s']:.1f}", *added, *firsts, f"{of['cpu_ms']:.2f}", share, str(of["failed"])
            )
        console.print(table)
        for name, of in cell["gateways"].items():
            if name.startswith("ours"):
                console.print(f"  {name}, ms of CPU: {_by_part(of['cpu_ms_by_part'], 0.01)}")
    table = Table("way", "memory, MiB", "CPU ms a second when nobody asks")
    for name, held in figures["memory_mib"].items():
        idle = figures["idle_cpu_ms_per_s"][name]
        table.add_row(name, f"{sum(held.values()):.0f}", f"{sum(idle.values()):.0f}: {_by_part(idle, 1.0)}")
    console.print(table)


def _by_part(spent: dict[str, float], least: float) -> str:
    parts = sorted(spent.items(), key=lambda part: -part[1])
    return ", ".join(f"{part} {ms:.2f}" for part, ms in parts if ms >= least)


if __name__ == "__main__":
    main()
