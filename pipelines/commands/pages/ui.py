"""``leeroo ui``: MLflow's pages on a home's rounds and router versions."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse import InputError
from warehouse.home import Home


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ui)


def ui(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
) -> None:
    """Open MLflow's pages with this home's runs and router versions."""
    import subprocess
    import sys

    from pipelines.commands.terminal.console import print_line
    from pipelines.commands.terminal.progress import working
    from pipelines.run_view import settle_view

    place = Home.open(home)
    if place.mlflow_uri.startswith(("http://", "https://")):  # a server has pages of its own
        try:
            page = settle_view(place.mlflow_uri)
        except InputError as error:  # whoever opens it may reach it from elsewhere
            print_line(f"MLflow runs elsewhere, which cannot be looked at from here: {error}")
            page = ""
        print_line(f"MLflow runs already: open {place.mlflow_uri.rstrip('/')}{page}")
        return
    with working("reading MLflow's store"):
        page = settle_view(place.mlflow_uri)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", place.mlflow_uri]
    command += ["--default-artifact-root", place.artifacts.as_uri(), "--host", host, "--port", str(port)]
    command += [
        "--workers",
        "1",
    ]  # a person's pages; more of them do not start beside a round on a small machine
    # MLflow's own first page is a welcome; what people come for are the rounds, with their training inside.
    print_line(f"MLflow on http://{host}:{port}{page} (Ctrl-C ends it)")
    raise typer.Exit(subprocess.call(command))
