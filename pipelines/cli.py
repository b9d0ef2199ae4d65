"""The ``leeroo`` command: registers the commands of each group. Heavy imports happen inside the commands."""

from __future__ import annotations

import importlib
import sys

import typer

#: One module per group, in the order of ``leeroo --help``.
GROUPS = (
    *("selfplay", "judge", "warehouse", "router", "experts", "route", "universe", "serve", "ask", "keys"),
    *("ledger", "doctor"),
)

app = typer.Typer(
    name="leeroo",
    help="Learn which expert LLM should answer each query, and hold a budget while doing it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for group in GROUPS:
    importlib.import_module(f"pipelines.commands.{group}").register(app)


def main() -> None:
    """Run the command line."""
    run_app(app)


def run_app(command: typer.Typer) -> None:
    """Run a command line; an error that we know ends with one clear message and its exit code."""
    from warehouse.errors import InputError

    try:
        command()
    except InputError as error:
        print(f"leeroo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(
            "leeroo: stopped. What was finished is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        sys.exit(130)


if __name__ == "__main__":
    main()
