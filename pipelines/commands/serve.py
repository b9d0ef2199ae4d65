"""``leeroo serve``, ``keys``, ``ask`` and ``chat``: the endpoint, who may use it, and words with it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home, warehouse_elsewhere

if TYPE_CHECKING:
    import httpx


class Period(StrEnum):
    """How long a budget lasts."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Preset(StrEnum):
    """What the model name ``leeroo`` may mean."""

    QUALITY = "quality"
    BALANCED = "balanced"
    ECONOMY = "economy"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("serve")(serve)
    app.command("ask")(ask)
    app.command("chat")(chat)
    keys = typer.Typer(help="Say who may use the endpoint, and for how much.", no_args_is_help=True)
    keys.command("create")(create_key)
    keys.command("revoke")(revoke_key)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def serve(
    home: HomeOption = DEFAULT_HOME,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue file; the default one if not given.")
    ] = None,
    expert: Annotated[
        list[str] | None, typer.Option(help="Expert to serve, instead of the pool; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    open_access: Annotated[
        bool, typer.Option("--open", help="Let anyone on this machine in without a key (loopback only).")
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Let the challenger decide too, for the record only.")
    ] = False,
    canary_share: Annotated[
        float, typer.Option(help="Share of the questions that the challenger decides.", min=0, max=1)
    ] = 0.0,
    drain_s: Annotated[
        float,
        typer.Option(help="Seconds in which requests under way may finish when it is stopped.", min=0),
    ] = 30.0,
    write_config: Annotated[
        Path | None,
        typer.Option(help="Start nothing: write a configuration file for `serve deploy`, and end."),
    ] = None,
) -> None:
    """Serve the champion and its experts behind OpenAI's API until Ctrl-C or SIGTERM.

    Then nobody new is let in, requests under way finish within --drain-s, and the books are settled. A second
    Ctrl-C ends all at once.
    """
    from rich.console import Console

    from pipelines.ray_session import joins_cluster, ray_session
    from serve.checks import check_machine, check_settings
    from serve.config import ServeConfig

    console = Console()
    place = Home.open(home)
    settings: dict[str, Any] = {"home": place.path, "catalogue": catalogue, "host": host, "port": port}
    settings |= {"experts": tuple(expert) if expert else None, "access": "open" if open_access else "keys"}
    settings["warehouse_url"] = warehouse_elsewhere()
    config = ServeConfig.parse(
        settings | {"shadow": shadow, "canary_share": canary_share, "drain_s": drain_s}
    )
    if write_config is not None:
        from serve.deploying import write_deploy_config

        write_deploy_config(config, write_config)
        console.print(f"Written. On a running cluster: serve deploy {write_config}")
        return
    check_settings(config)  # before Ray starts, which takes a while
    if not joins_cluster():
        check_machine(config)
    with ray_session():
        from serve.run import APP_NAME, start_serving, stop_serving
        from serve.stopping import StopSignal, close_books, drain_serving

        with console.status("starting the experts (half a minute each on a CPU)") as status:
            url = start_serving(
                config,
                on_status=lambda parts: status.update(
                    ", ".join(f"{name} {s.lower()}" for name, s in parts.items())
                ),
            )
        console.print(f"Ready: {url}/v1 takes any OpenAI client, with model leeroo. Ctrl-C stops it.")
        if not open_access:
            console.print("It asks for a key: `leeroo keys create NAME` makes one.")
        with StopSignal() as stop:
            stop.wait()
            with console.status("stopping") as status:
                drained = drain_serving(
                    config,
                    APP_NAME,
                    lambda under_way: status.update(f"stopping: {under_way} requests under way"),
                )
                stop_serving()
                close_books(config, drained)
            console.print("stopped")


def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    home: HomeOption = DEFAULT_HOME,
    budget_usd: Annotated[
        float | None, typer.Option(help="What it may spend per period; no limit if not given.")
    ] = None,
    period: Annotated[Period, typer.Option(help="How long the budget lasts.")] = Period.MONTH,
    paced_over: Annotated[
        int | None,
        typer.Option(
            help="Spread the budget over so many requests a period: answers get cheaper, not fewer."
        ),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="How often it may ask.")] = None,
    expert: Annotated[list[str] | None, typer.Option(help="Only expert it may use; may be repeated.")] = None,
    preset: Annotated[Preset | None, typer.Option(help="What the model name leeroo means for it.")] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue that --expert names are of; the default one if not given.")
    ] = None,
) -> None:
    """Make a key. Its secret is shown once and kept nowhere."""
    from serve.ledger.ledger import LEDGER_FILE, Ledger

    if expert:
        _check_experts(expert, catalogue)
    key_id, secret = Ledger(Home.open(home).path / LEDGER_FILE).create_key(
        name,
        budget_usd=budget_usd,
        period=period.value,
        requests_per_minute=requests_per_minute,
        experts=expert,
        preset=preset.value if preset else None,
        paced_over=paced_over,
    )
    typer.echo(f"{key_id} for {name}. Keep the secret, it is not shown again:\n{secret}")


def _check_experts(names: list[str], catalogue: Path | None) -> None:
    """A key for an expert that nothing serves would be refused at every question."""
    from experts import load_catalogue
    from warehouse import InputError

    known = load_catalogue(catalogue)
    for name in names:
        if name not in known.names:
            raise InputError(
                f"no expert is called {name!r}",
                where=f"--expert, catalogue {known.path}",
                fix=f"use one of {', '.join(known.names)}, or name their file with --catalogue",
            )


def revoke_key(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """End a key, at once and for good."""
    from serve.ledger.ledger import LEDGER_FILE, Ledger

    typer.echo(f"{Ledger(Home.open(home).path / LEDGER_FILE).revoke_key(name)} is revoked.")


def list_keys(home: HomeOption = DEFAULT_HOME) -> None:
    """Show the keys, their limits and what they spent in their present period."""
    from rich.console import Console
    from rich.table import Table

    from serve.ledger.ledger import LEDGER_FILE, Ledger

    table = Table(
        "key",
        "name",
        "spent USD",
        "budget USD",
        "period",
        "requests",
        "paced over",
        "requests/min",
        "experts",
        "preset",
        "state",
    )
    for key in Ledger(Home.open(home).path / LEDGER_FILE).list_keys():
        table.add_row(
            key.key_id,
            key.name,
            f"{key.spent_usd:.6g}",
            "-" if key.budget_usd is None else f"{key.budget_usd:g}",
            key.period,
            str(key.requests),
            str(key.paced_over or "-"),
            str(key.requests_per_minute or "-"),
            ", ".join(key.experts or ("all",)),
            key.preset or "-",
            "revoked" if key.revoked else "active",
        )
    Console().print(table)


UrlOption = Annotated[str, typer.Option(envvar="LEEROO_URL", help="Address of the endpoint.")]
KeyOption = Annotated[str | None, typer.Option(envvar="LEEROO_KEY", help="Key, if the endpoint wants one.")]
ModelOption = Annotated[str, typer.Option(help="leeroo, leeroo:<preset>, or an expert.")]
DEFAULT_URL = "http://127.0.0.1:8000"


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = None,
    model: ModelOption = "leeroo",
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Leave out experts expected to cost more.")
    ] = None,
    min_success: Annotated[
        float | None, typer.Option(help="Prefer experts expected to succeed this often.", min=0, max=1)
    ] = None,
) -> None:
    """Ask the running endpoint, and say who answered and what was expected."""
    limits = {"max_cost_usd": max_cost_usd, "min_success": min_success}
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    _say(url, key, body | {name: value for name, value in limits.items() if value is not None})


def chat(url: UrlOption = DEFAULT_URL, key: KeyOption = None, model: ModelOption = "leeroo") -> None:
    """Talk with the running endpoint, turn by turn; an empty line ends it."""
    messages: list[dict[str, str]] = []
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            return
        if not said:
            return
        messages.append({"role": "user", "content": said})
        messages.append(
            {"role": "assistant", "content": _say(url, key, {"model": model, "messages": messages})}
        )


def _say(url: str, key: str | None, body: dict[str, Any]) -> str:
    """Send a conversation, print the answer as it comes and what is told of it; return the answer."""
    import json

    import httpx
    from rich.console import Console

    from warehouse.errors import InputError

    console = Console(highlight=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.rstrip('/')}/v1/chat/completions"
    text, told = "", None
    try:
        with httpx.stream(
            "POST", address, json=body | {"stream": True}, headers=headers, timeout=300
        ) as reply:
            if reply.is_error:
                reply.read()
                fix = "pass --key or set LEEROO_KEY; `leeroo keys create NAME` makes one"
                raise InputError(_message(reply), where=url, fix=fix if reply.status_code == 401 else None)
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                piece = json.loads(line.removeprefix("data: "))
                if "error" in piece:
                    raise InputError(piece["error"]["message"], where=url)
                told = piece.get("leeroo") or told
                if piece["choices"]:
                    part = piece["choices"][0]["delta"].get("content") or ""
                    console.print(part if text else part.lstrip(), end="", markup=False)
                    text += part
    except httpx.HTTPError as error:
        raise InputError(
            f"no endpoint answers there ({error})", where=url, fix="start one: leeroo serve"
        ) from None
    console.print()
    if told:
        console.print(_facts(told), style="dim", markup=False)
    return text


def _message(reply: httpx.Response) -> str:
    """Return what a refusal says, whoever it comes from."""
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}, and not from an endpoint of ours"


def _facts(told: dict[str, Any]) -> str:
    facts = [f"answered by {told['expert']}"]
    if "predicted_success" in told:
        facts.append(f"expected success {told['predicted_success']:.2f}")
        facts.append(f"expected cost ${told['predicted_cost_usd']:.3g}")
    if "cost_usd" in told:
        facts.append(f"cost ${told['cost_usd']:.3g}")
    return f"({', '.join(facts)}, {told['latency_s']:.2f} s; {told['reason']})"
