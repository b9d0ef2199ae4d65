"""``leeroo serve`` and ``leeroo ask``: the endpoint, and a question to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.home import DEFAULT_HOME, HomeOption


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("serve")(serve)
    app.command("ask")(ask)


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
) -> None:
    """Serve the champion and its experts behind OpenAI's API until Ctrl-C."""
    import time

    from rich.console import Console

    from pipelines.cluster import ray_session
    from serve.config import ServeConfig

    console = Console()
    settings: dict[str, Any] = {"home": home, "catalogue": catalogue, "host": host, "port": port}
    config = ServeConfig.parse(settings | {"experts": tuple(expert) if expert else None})
    with ray_session():
        from serve.run import start_serving, stop_serving

        with console.status("starting the experts (half a minute each on a CPU)") as status:
            url = start_serving(
                config,
                on_status=lambda parts: status.update(
                    ", ".join(f"{name} {s.lower()}" for name, s in parts.items())
                ),
            )
        console.print(f"Ready: {url}/v1 takes any OpenAI client, with model leeroo. Ctrl-C stops it.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("stopping")
        finally:
            stop_serving()


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    url: Annotated[
        str, typer.Option(envvar="LEEROO_URL", help="Address of the endpoint.")
    ] = "http://127.0.0.1:8000",
    model: Annotated[str, typer.Option(help="leeroo, leeroo:<preset>, or an expert.")] = "leeroo",
    max_cost_usd: Annotated[
        float | None, typer.Option(help="Leave out experts expected to cost more.")
    ] = None,
    min_success: Annotated[
        float | None, typer.Option(help="Prefer experts expected to succeed this often.", min=0, max=1)
    ] = None,
) -> None:
    """Ask the running endpoint, and say who answered and what was expected."""
    import httpx
    from rich.console import Console

    from warehouse.errors import InputError

    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    limits = {"max_cost_usd": max_cost_usd, "min_success": min_success}
    body |= {name: value for name, value in limits.items() if value is not None}
    try:
        reply = httpx.post(f"{url.rstrip('/')}/v1/chat/completions", json=body, timeout=300)
    except httpx.HTTPError as error:
        raise InputError(
            f"no endpoint answers there ({error})", where=url, fix="start one: leeroo serve"
        ) from None
    try:
        content = reply.json()
    except ValueError:
        raise InputError(f"status {reply.status_code}, and no JSON", where=url, fix="check --url") from None
    if reply.is_error:
        raise InputError(content.get("error", {}).get("message", reply.text), where=url)
    told = content["leeroo"]
    console = Console()
    console.print(content["choices"][0]["message"]["content"].strip(), markup=False)
    facts = [f"answered by {told['expert']}"]
    if "predicted_success" in told:
        facts.append(f"expected success {told['predicted_success']:.2f}")
        facts.append(f"expected cost ${told['predicted_cost_usd']:.3g}")
    if told.get("cost_usd") is not None:
        facts.append(f"cost ${told['cost_usd']:.3g}")
    facts.append(f"{told['latency_s']:.2f} s")
    console.print(f"({', '.join(facts)}; {told['reason']})", style="dim", markup=False)
