"""The ``leeroo`` command: registers the commands of each group. Heavy imports happen inside the commands."""

from __future__ import annotations

import importlib
import os
import sys

import typer
from typer.models import CommandInfo, TyperInfo

#: One module per group, in the order of ``leeroo --help``, which shows them under these headings.
GROUPS = {
    "Learn which expert answers": ("selfplay", "judge", "router", "route", "traffic"),
    "Choose and make experts": ("experts", "universe", "gaps", "forge"),
    "Serve": ("serve", "ask", "maintenance", "accounts.keys", "accounts.teams", "accounts.usage", "ledger"),
    "Look into what happened": ("pages.report", "pages.ui", "doctor"),
    "Data and prices": ("warehouse", "data.imports", "data.prices"),
}

app = typer.Typer(
    name="leeroo",
    help="Learn which expert LLM should answer each query, within a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for heading, modules in GROUPS.items():
    for module in modules:
        importlib.import_module(f"pipelines.commands.{module}").register(app)
    registered: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for added in registered:
        if not isinstance(added.rich_help_panel, str):
            added.rich_help_panel = heading


def main() -> None:
    """Run the command line."""
    run_app(app)


def run_app(command: typer.Typer) -> None:
    """Run a command line; whatever goes wrong ends with one clear message and its exit code.

    With LEEROO_DEBUG=1 an exception shows its trace instead.
    """
    from warehouse.errors import LeerooError
    from warehouse.reachable import exempt_loopback

    os.umask(0o077)  # what lies in a home is its owner's alone
    exempt_loopback()
    try:
        command()
    except KeyboardInterrupt:
        print(
            "leeroo: stopped. Finished work is kept; run the same command again to resume.",
            file=sys.stderr,
        )
        sys.exit(130)
    except BrokenPipeError:  # `leeroo sql ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if os.environ.get("LEEROO_DEBUG") == "1":
            raise
        from pipelines.failures import explain, first_line, keep_trace

        told = error if isinstance(error, LeerooError) else explain(error)
        if told is not None:
            print(f"leeroo: {told}", file=sys.stderr)
            sys.exit(told.exit_code)
        kept = keep_trace(error)
        print(
            f"leeroo: {type(error).__name__}: {first_line(error)}. This should not happen. "
            + (f"The whole trace is in {kept}" if kept else "LEEROO_DEBUG=1 shows the whole trace"),
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
