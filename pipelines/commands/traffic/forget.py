"""``leeroo traffic forget`` and ``expire``: what was recorded goes, as somebody asks or its time is over."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_HOME, HomeOption
from warehouse.home import Home

if TYPE_CHECKING:
    from warehouse.traffic.derived import Removed

RequestOption = Annotated[
    list[str] | None, typer.Option("--request", help="Id of a request; may be repeated.")
]


def register(traffic: typer.Typer) -> None:
    """Add the commands to their group."""
    traffic.command("forget")(forget_recorded)
    traffic.command("expire")(expire_recorded)


def forget_recorded(
    key: Annotated[str | None, typer.Option(help="Requests of this key, by name or id.")] = None,
    user: Annotated[str | None, typer.Option(help="Requests that named this user.")] = None,
    request: RequestOption = None,
    before: Annotated[
        str | None, typer.Option(help="Requests answered before a day or moment (UTC).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Delete requests for good: texts, rows, feedback, and shadow questions with their answers.

    Where several options are given, all must hold. Requests that are answered later are not meant. What they
    cost stays in the ledger; a router that learned from them is not trained anew.
    """
    from pipelines.commands.terminal.console import print_line
    from pipelines.traffic.forget import count_requests, forget_requests, select_requests
    from warehouse import InputError

    place = Home.open(home)
    selection = select_requests(place, key=key, user=user, requests=request or [], before=before)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("nobody is there to be asked", where="leeroo traffic forget", fix="give --yes")
        typer.confirm(f"Remove {count_requests(place, selection):,} requests for good?", abort=True)
    done, traces = forget_requests(place, selection)
    told = f"{done.requests:,} requests are forgotten, {done.texts:,} texts with them"
    print_line(told + (f" and {traces:,} traces" if traces else ""))
    _tell_rows(done.removed)
    print_line("What they cost stays in the ledger. Routers that learned from them are not trained anew.")


def expire_recorded(
    keep_texts_days: Annotated[
        int | None,
        typer.Option(help="Days that texts are kept; as the endpoint was started, or 30.", min=0),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Delete expired texts, and repeat open deletions. A running endpoint does this by itself."""
    from pipelines.commands.terminal.console import print_line
    from pipelines.traffic.forget import expire_texts
    from warehouse.traffic.retention import DEFAULT_DAYS, read_recording

    place = Home.open(home)
    noted = read_recording(place.path)
    days = noted.keep_days if noted else DEFAULT_DAYS
    expired, orders = expire_texts(place, days if keep_texts_days is None else keep_texts_days)
    print_line(f"{expired.texts:,} texts were over their time, and words in {expired.words:,} rows")
    _tell_rows(expired.removed)
    if orders:
        print_line(f"{orders} orders to forget of the last day were carried out again")


def _tell_rows(removed: Removed) -> None:
    from pipelines.commands.terminal.console import print_line

    told = ", ".join(f"{name} {count:,}" for name, count in removed.rows.items() if count)
    print_line(f"rows removed: {told or 'none'}")
    if removed.blanked:
        print_line(f"{removed.blanked:,} replies of judges lost their words")
