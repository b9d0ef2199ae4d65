"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.predictors.registry import describe_predictors
from orchestrator.text.registry import describe_embedders

#: The ``--home`` option of every command.
HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="LEEROO_HOME",
        help="Folder of this installation. LEEROO_WAREHOUSE and MLFLOW_TRACKING_URI move its tables and its "
        "router versions elsewhere.",
    ),
]
DEFAULT_HOME = Path(".leeroo")

#: The ``--ledger`` option of commands that read or write keys and money.
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        help="Keys and money: URL of a PostgreSQL database, without its password; else LEEROO_LEDGER's, "
        "else the file in the home.",
    ),
]

PoolOption = Annotated[
    str | None, typer.Option(help="A pool in a YAML file, as FILE or FILE:NAME (needs a list `experts`).")
]
ExpertsOption = Annotated[
    str | None, typer.Option(help="Experts, names or globs, comma-separated: 'helm/*,gpt-4*'.")
]
SourceOption = Annotated[
    str | None, typer.Option(help="Question sources, comma-separated, for example mmlu.")
]
Lists = list[str] | None  # an option that may be repeated, and hold several names by commas each time
ExpertsLists = Annotated[
    Lists, typer.Option(help="Experts, names or globs, comma-separated: 'helm/*,gpt-4*'; may be repeated.")
]
SourcesLists = Annotated[
    Lists, typer.Option(help="Question sources, comma-separated, for example mmlu; may be repeated.")
]
TrackOption = Annotated[bool, typer.Option(help="Log an MLflow run with the figures.")]
EmbedderOption = Annotated[
    str, typer.Option(help=f"Embedder: {describe_embedders()}, or several joined by +.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of tables.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")]
#: What a predictor may be called, for the help of options.
PREDICTOR_KINDS = describe_predictors()

#: The ``--catalogue`` option of commands that ask or check experts.
CatalogueOption = Annotated[
    Path | None, typer.Option(help="YAML file of experts; small real models by default.")
]
#: The ``--address`` option of commands that ask experts in bulk.
AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster to join; starts a small one by default.")
]


def split_lists(listed: Lists) -> tuple[str, ...]:
    """Return the names of a repeated, comma-separated option."""
    from warehouse import split_names

    return tuple(split_names(listed))
