"""Where one installation keeps its state, and how its pieces are addressed from there."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import InputError
from warehouse.mlflow_places import ARTIFACTS, artifact_root, sqlite_path, sqlite_uri
from warehouse.store import Warehouse

#: The folder itself.
HOME_VARIABLE = "LEEROO_HOME"
#: Where MLflow is, when not in the home: a server, or a database.
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
#: Where the tables are, when not in the home: a folder or the URL of an object store.
WAREHOUSE_VARIABLE = "LEEROO_WAREHOUSE"


_URL = re.compile(r"([a-z][a-z0-9+.-]+):/")
#: Where Ray puts the working directories of its jobs, somewhere below its temporary folder.
_WORKING_DIRECTORIES = "working_dir_files"


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
            InputError: the URL of an object store; a path in the working directory of a Ray job, which is
                thrown away; or no folder is there and none can be made.
        """
        if url := _URL.match(str(path)):  # paths fold the slashes of a URL into one
            raise InputError(
                f"a home is a folder, not a place on {url[1]}",
                where=f"--home {path}",
                fix="put the tables there by --warehouse or LEEROO_WAREHOUSE, and the versions on an MLflow "
                "server by --mlflow or MLFLOW_TRACKING_URI",
            )
        tables = warehouse_url or os.environ.get(WAREHOUSE_VARIABLE)
        tracked = mlflow_uri or os.environ.get(TRACKING_VARIABLE)
        _check_kept(path, f"--home {path}")
        if tables and "://" not in tables:
            _check_kept(Path(tables), f"warehouse {tables}")
        if tracked and tracked.startswith("sqlite"):
            _check_kept(Path(tracked.partition(":///")[2]), f"MLflow {tracked}")
        path = path.expanduser().absolute()
        _check_folder(path)
        return cls(
            path,
            (absolute_url(warehouse_url) if warehouse_url else warehouse_elsewhere())
            or str(path / "warehouse"),
            _absolute_store(tracked) or sqlite_uri(path / "mlflow.db"),
        )

    @classmethod
    def default(cls) -> Home:
        """The home that the environment names: LEEROO_HOME, else ``.leeroo`` in the working directory."""
        return cls.open(default_path())

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps its files when it runs on SQLite; a server decides by itself."""
        return artifact_root(self.mlflow_uri) or self.path / ARTIFACTS

    @property
    def rounds(self) -> Path:
        """What the rounds of self-play wrote down to go on from."""
        return self.path / "rounds"

    @property
    def pool(self) -> Path:
        """The pool that is served."""
        return self.path / "pool.yaml"

    @property
    def plan(self) -> Path:
        """The universe chosen last."""
        return self.path / "universe.yaml"

    @property
    def embeddings(self) -> Path:
        """Cache of embeddings, by content hash."""
        return self.path / "cache" / "embeddings"

    def warehouse(self) -> Warehouse:
        """Open the warehouse."""
        return Warehouse(self.warehouse_url)

    def make(self) -> Path:
        """Make the folder, for its owner alone; return its path."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.path


def default_path() -> Path:
    """Where the home is when no command says so: LEEROO_HOME, else ``.leeroo``."""
    return Path(os.environ.get(HOME_VARIABLE) or ".leeroo")


def _absolute_store(uri: str | None) -> str | None:
    """An address of MLflow; a SQLite file's made absolute, because other processes work in other folders."""
    path = sqlite_path(uri) if uri else None
    return uri if path is None else sqlite_uri(path)


def warehouse_elsewhere() -> str | None:
    """The warehouse that the environment names, or None: it lies in the home."""
    named = os.environ.get(WAREHOUSE_VARIABLE)
    return absolute_url(named) if named else None


def absolute_url(url: str) -> str:
    """A URL as it is; a path made absolute, because other processes work in other folders."""
    return url if "://" in url else str(Path(url).expanduser().absolute())


def _check_kept(path: Path, where: str) -> None:
    """See that a path outlives the Ray job in which this runs, if it runs in one."""
    path = path.expanduser()
    is_kept = path.is_absolute() and _WORKING_DIRECTORIES not in path.parts
    if not is_kept and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise InputError(
            "a Ray job runs in a throw-away copy of the working directory, so its results would be lost",
            where=where,
            fix="give an absolute path that every node sees; LEEROO_HOME names one for the home",
        )


def _check_folder(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        named = str(path).encode(errors="replace").decode()
        raise InputError(
            "its name is no UTF-8, which databases need", where=f"home {named}", fix="give it another name"
        ) from None
    there = path
    while not os.path.exists(there):
        there = there.parent
    where = f"home {path}"
    if too_long := next(
        (name for name in path.relative_to(there).parts if len(os.fsencode(name)) > 255), None
    ):
        raise InputError(
            f"a name of {len(os.fsencode(too_long))} bytes is too long",
            where=where,
            fix="choose a shorter one",
        )
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
