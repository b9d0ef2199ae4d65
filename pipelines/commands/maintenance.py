"""``leeroo maintenance``: close a running endpoint for new requests, and open it again."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("maintenance")(maintenance)


def maintenance(
    action: Annotated[Literal["on", "off"], typer.Argument(help="Whether new requests are refused.")],
    retry_after_s: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds that refused clients are told to wait.")
    ] = 30.0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Have a running endpoint refuse new requests with 503 and Retry-After; those under way finish.

    Holds until `leeroo maintenance off`, also when the endpoint starts again.
    """
    from pipelines.commands.terminal.console import print_line
    from serve.config.orders import order_close, order_open
    from warehouse.home import Home

    place = Home.open(home).path
    if action == "on":
        order_close(place, retry_after_s)
        print_line("new requests are refused from now on; those under way finish")
    else:
        order_open(place)
        print_line("requests are taken again")
