"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: The ``--home`` option of every command.
HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="LEEROO_HOME",
        help="Folder with this installation's state. LEEROO_WAREHOUSE and MLFLOW_TRACKING_URI name another "
        "place for its tables and its router versions.",
    ),
]
DEFAULT_HOME = Path(".leeroo")
