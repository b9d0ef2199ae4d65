"""Where one installation keeps its state, and how its pieces are addressed from there."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import InputError
from warehouse.store import Warehouse

#: Where the tables are, when not in the home: a folder or the URL of an object store.
WAREHOUSE_VARIABLE = "LEEROO_WAREHOUSE"


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
        """Resolve a home; nothing is made yet.

        Where no URL or URI is given, the environment's LEEROO_WAREHOUSE and MLFLOW_TRACKING_URI count.

        Raises:
            InputError: a relative path inside a Ray job, whose working directory is thrown away; or no
                folder is there and none can be made.
        """
        if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
            raise InputError(
                "a Ray job runs in a throw-away copy of the working directory, so its results would be lost",
                where=f"--home {path}",
                fix="give an absolute path that every node sees, or set LEEROO_HOME to one",
            )
        path = path.expanduser().absolute()
        _check_folder(path)
        return cls(
            path,
            (absolute_url(warehouse_url) if warehouse_url else warehouse_elsewhere())
            or str(path / "warehouse"),
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


def warehouse_elsewhere() -> str | None:
    """The warehouse that the environment names, or None: it lies in the home."""
    named = os.environ.get(WAREHOUSE_VARIABLE)
    return absolute_url(named) if named else None


def absolute_url(url: str) -> str:
    """A URL as it is; a path made absolute, because other processes work in other folders."""
    return url if "://" in url else str(Path(url).expanduser().absolute())


def _check_folder(path: Path) -> None:
    there = path
    while not os.path.exists(there):
        there = there.parent
    where = f"home {path}"
    if not there.is_dir():
        what = "this is a file" if there == path else f"{there} is a file"
        raise InputError(f"{what}, not a folder", where=where, fix="give --home or LEEROO_HOME a folder")
    if there == path:
        return
    try:
        with tempfile.TemporaryFile(dir=there):  # the one question that every kind of file system answers
            pass
    except OSError as error:
        raise InputError(
            f"the folder cannot be made in {there} ({error.strerror})",
            where=where,
            fix="give --home or LEEROO_HOME a folder that you may write to",
        ) from None
