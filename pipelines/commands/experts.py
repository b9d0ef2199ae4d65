"""``leeroo experts``: change the champion's pool without retraining; see what an API takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import (
    DEFAULT_HOME,
    AddressOption,
    CatalogueOption,
    CsvOption,
    HomeOption,
    JsonOption,
)
from warehouse.home import Home

if TYPE_CHECKING:
    from experts import ExpertSpec


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(
        help="Add or retire an expert without retraining; check what an API can do; drain an expert.",
        no_args_is_help=True,
    )
    group.command("add")(add)
    group.command("retire")(retire)
    group.command("check")(check)
    group.command("drain")(drain)
    group.command("resume")(resume)
    group.command("reload")(reload)
    app.add_typer(group, name="experts")


def add(
    name: Annotated[str, typer.Argument(help="Expert from the catalogue, or one with recorded answers.")],
    probes: Annotated[int, typer.Option(min=10, help="Number of questions to ask it.")] = 200,
    test_questions: Annotated[
        int,
        typer.Option(
            min=0, help="Number of held-out questions to ask it as well, used only by `leeroo promote`."
        ),
    ] = 200,
    budget_usd: Annotated[
        float | None,
        typer.Option(min=0, help="Maximum cost of asking it, earlier calls included; never exceeded."),
    ] = None,
    catalogue: CatalogueOption = None,
    address: AddressOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Add an expert to the champion's pool by asking it the most telling questions; nothing is retrained.

    Answers are stored as they arrive. Questions that failed stay open: run again to ask them.
    """
    from experts import load_catalogue
    from orchestrator.evaluation.compare import MIN_QUESTIONS
    from pipelines.commands.screen import show_progress
    from pipelines.commands.terminal.console import print_line
    from pipelines.learning.grow_pool import (
        add_candidate,
        ask_candidate,
        choose_candidate,
        has_recorded_answers,
    )
    from pipelines.ray_session import Connection
    from warehouse import InputError

    place = Home.open(home)
    known = load_catalogue(catalogue)
    if name in known.names and "chat" not in (offers := known.get(name).offers):
        raise InputError(
            f"an expert that offers {' and '.join(offers)} alone answers no questions",
            where=f"{known.path}, expert {name!r}, field offers",
            fix="add `chat` if it answers them; else requests name it in `model`, without a router",
        )
    candidate = choose_candidate(place, name, probes=probes, test_questions=test_questions)
    champion, held_out = candidate.champion_version, len(candidate.test_ids)
    if held_out < MIN_QUESTIONS:
        print_line(
            f"{held_out} held-out questions for the test against champion {champion}, which needs"
            f" {MIN_QUESTIONS}: only --force will promote this version"
        )
    receipt = None
    if name in known.names:
        spec, total = known.get(name), len({*candidate.probe_ids, *candidate.test_ids})
        with Connection(address) as connection, show_progress({name: total}) as advance:

            def connect() -> None:  # where there is something to ask
                _check_runnable(spec, str(known.path))
                connection.ensure()

            receipt = ask_candidate(
                place, candidate, spec, run_id="", budget_usd=budget_usd, connect=connect, on_progress=advance
            )
        if receipt.problem:
            print_line(f"{receipt.unasked} questions stay open: {receipt.problem}")
    elif not has_recorded_answers(place, name):
        raise InputError(
            f"no expert is called {name!r} and no answers of it are recorded", fix="add it to the catalogue"
        )
    growth = add_candidate(place, candidate, receipt)
    asked = f"{receipt.asked} questions asked now for {receipt.cost_usd:.6f} USD" if receipt else "recorded"
    print_line(
        f"{name} placed from {growth.probes} probes ({asked}): version {growth.version} is challenger to"
        f" champion {champion}; "
        + (
            f"`leeroo promote {growth.version}` puts it to the test"
            if growth.tested >= MIN_QUESTIONS
            else f"{growth.tested} held-out questions are too few for a test:"
            f" `leeroo promote {growth.version} --force`"
        )
    )


def _check_runnable(spec: ExpertSpec, catalogue: str) -> None:
    from experts import probe_hardware
    from pipelines.diagnosis import find_problems
    from warehouse import CannotRunError

    if spec.resources.num_gpus:  # on a cluster they are on other machines; Ray waits for them and says so
        return
    for what, fix in find_problems(spec, probe_hardware()):
        raise CannotRunError(what, where=f"{catalogue}, expert {spec.name!r}", fix=fix)


def retire(
    name: Annotated[str, typer.Argument(help="Expert in the champion's pool.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Remove an expert from the champion's pool; the version without it becomes champion at once."""
    from orchestrator.pool_changes import retire_expert
    from orchestrator.versions.mlflow_registry import load_champion, log_version, set_champion
    from pipelines.commands.terminal.console import print_line

    place = Home.open(home)
    champion, former = load_champion(place.mlflow_uri)
    version = log_version(retire_expert(champion, name), tracking_uri=place.mlflow_uri, alias=None)
    set_champion(place.mlflow_uri, version, note=f"retired {name}")
    print_line(f"version {version} is champion, without {name} (before: version {former})")


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="API experts from the catalogue; all by default.")
    ] = None,
    catalogue: CatalogueOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Ask each API expert a few tiny questions: shows what it refuses and can do, and which lines to add.

    Costs about a thousand tokens an expert. Exit code 1 when one of them does not answer.
    """
    import asyncio
    import sys
    from dataclasses import asdict

    from experts import load_catalogue
    from experts.backends.registry import connect, is_api
    from experts.upstream.checking.check import CheckResult, check_expert
    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.query_output import write_records
    from warehouse import InputError

    known = load_catalogue(catalogue)
    chosen = [known.get(name) for name in names] if names else list(known.experts)
    apis = [spec for spec in chosen if is_api(spec)]
    if not apis:
        raise InputError(
            "no API among the experts", where=str(known.path), fix="name one with `backend: openai`"
        )

    async def check_all() -> list[CheckResult]:
        return list(await asyncio.gather(*(check_expert(spec, connect) for spec in apis)))

    results = asyncio.run(check_all())
    if as_json or as_csv:
        write_records([asdict(found) for found in results], sys.stdout, as_csv=as_csv)
    for found in () if as_json or as_csv else results:
        print_line(found.expert)
        for note in found.notes:
            print_line(f"  {note}")
        for line in found.lines:
            print_line(f"  add to its entry:  {line}")
        if found.works and not found.lines:
            print_line("  nothing to add")
    if not all(found.works for found in results):
        raise typer.Exit(1)


def drain(
    name: Annotated[str, typer.Argument(help="Expert from the catalogue.")],
    catalogue: CatalogueOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Take an expert out of service: a running endpoint sends it no further request; those under way finish.

    Holds until `leeroo experts resume`, also when the endpoint starts again.
    """
    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from serve.config.orders import order_drain

    order_drain(Home.open(home).path, load_catalogue(catalogue).get(name).name)
    print_line(f"{name} is sent no request from now on; those under way finish")


def resume(
    name: Annotated[str, typer.Argument(help="Expert that was drained.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Put a drained expert back into service."""
    from pipelines.commands.terminal.console import print_line
    from serve.config.orders import order_resume, read_orders
    from warehouse import InputError

    place = Home.open(home).path
    drained = read_orders(place).drained
    if name not in drained:
        there = f"drained are {', '.join(sorted(drained))}" if drained else "no expert is drained"
        raise InputError(f"{name!r} is not drained", where=str(place), fix=there)
    order_resume(place, name)
    print_line(f"{name} is sent requests again")


def reload(
    catalogue: Annotated[
        Path | None, typer.Option(help="The endpoint's catalogue, to be checked before; else not checked.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Have a running endpoint read its catalogue again, without dropping a request.

    Prices, abilities, time-outs and experts behind APIs change at once. What an engine here is started with
    does not. A catalogue that cannot be used is logged by the endpoint and changes nothing.
    """
    from experts import load_catalogue
    from pipelines.commands.terminal.console import print_line
    from serve.config.orders import order_reload

    if catalogue is not None:
        load_catalogue(catalogue)
    order_reload(Home.open(home).path)
    print_line("the endpoint of this home reads its catalogue again with its next request")
