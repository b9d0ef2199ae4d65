"""Where one installation keeps its state, and how its pieces are addressed from there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from warehouse import InputError, Warehouse

#: The ``--home`` option of every command.
HomeOption = Annotated[
    Path, typer.Option("--home", envvar="LEEROO_HOME", help="Folder with this installation's state.")
]
DEFAULT_HOME = Path(".leeroo")


@dataclass(frozen=True)
class Home:
    """The folder with an installation's warehouse, MLflow store and pool.

    ``warehouse_url`` and ``mlflow_uri`` may lie elsewhere: an object store and a tracking server that the
    whole cluster reaches.
    """

    path: Path
    warehouse_url: str
    mlflow_uri: str

    @classmethod
    def open(cls, path: Path, *, warehouse_url: str | None = None, mlflow_uri: str | None = None) -> Home:
        """Resolve a home; the environment's MLFLOW_TRACKING_URI is honoured where no URI is given.

        Raises:
            InputError: a relative path inside a Ray job, whose working directory is thrown away.
        """
        if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            raise InputError(
                "a Ray job runs in a throw-away copy of the working directory, so its results would be lost",
                where=f"--home {path}",
                fix="give an absolute path that every node sees, or set LEEROO_HOME to one",
            )
        path = path.expanduser().absolute()
        return cls(
            path,
            warehouse_url or str(path / "warehouse"),
            mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{path / 'mlflow.db'}",
        )

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps artifacts when it runs on the home's own SQLite store."""
        return self.path / "mlartifacts"

    @property
    def embeddings(self) -> Path:
        """Cache of embeddings, by content hash."""
        return self.path / "cache" / "embeddings"

    def warehouse(self) -> Warehouse:
        """Open the warehouse."""
        return Warehouse(self.warehouse_url)
