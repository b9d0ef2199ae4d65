"""Where an MLflow store on SQLite keeps its files: always beside the database, wherever that lies now.

MLflow writes down absolute addresses of artifacts, so a home that was moved or copied would look for its
files where it once lay, and a copy would read those of its original. What the database says is therefore
corrected when it is opened, and on the way to a model once more, for a home that cannot be written to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: The folder of the artifacts, beside the database.
ARTIFACTS = "mlartifacts"
#: Where MLflow puts what has no place: below the working directory of whoever made the database.
_STRAY = "mlruns"
#: The columns that hold addresses.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file for MLflow, whatever signs are in its name.

    SQLAlchemy takes ``?`` for the end of the path and decodes ``%``. MLflow makes the folder of every address
    that begins with ``sqlite:///``, without decoding it, which the longer name of the same driver avoids.
    """
    text = str(path)
    if not {"%", "?"} & set(text):
        return f"sqlite:///{text}"
    return "sqlite+pysqlite:///" + text.replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """The file behind an address, absolute; None where MLflow's store is something else than SQLite.

    >>> sqlite_path(sqlite_uri(Path("/a/50% off?/mlflow.db")))
    PosixPath('/a/50% off?/mlflow.db')
    """
    scheme, _, rest = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not rest:
        return None
    path = rest.partition("?")[0]
    return Path(unquote(path)).expanduser().absolute()


def artifact_root(uri: str) -> Path | None:
    """The folder of the artifacts of a store on SQLite; None where the store decides by itself."""
    path = sqlite_path(uri)
    return None if path is None else path.parent / ARTIFACTS


def place_now(address: str, root: Path) -> str:
    """Where an artifact that the store knows under ``address`` lies now, below the folder ``root``.

    What lies below a folder of that name elsewhere is looked for here, be the other still there or not: a
    copy never reads its original. Other addresses (object stores, ``models:/``) stay.
    """
    folder = _local(address)
    if folder is None or folder.is_relative_to(root) or root.name not in folder.parts:
        return address
    end = len(folder.parts) - folder.parts[::-1].index(root.name)
    former = Path(*folder.parts[:end])
    if former == root or (folder.exists() and not root.is_dir()):
        return address  # files of a store that always kept them apart from its database
    with contextlib.suppress(OSError):
        if os.path.samefile(former, root):  # one folder by two names
            return address
    return root.joinpath(*folder.parts[end:]).as_uri()


def settle_places(connection: sqlite3.Connection, root: Path) -> bool:
    """Correct the addresses in an open store; tell whether any were wrong.

    New runs take theirs from their experiment, so where no experiment's is wrong nothing else is looked at.
    Files that went to a working directory's ``mlruns`` are taken in, where they are still there.
    """
    experiments = connection.execute("select experiment_id, artifact_location from experiments").fetchall()
    wrong = {
        number: new for number, old in experiments if (new := _experiment_place(number, old, root)) != old
    }
    if not wrong:
        return False
    connection.execute("begin immediate")
    for number, location in wrong.items():
        connection.execute(
            "update experiments set artifact_location = ? where experiment_id = ?", (location, number)
        )
    known = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    for table, column in _COLUMNS[1:]:
        if table not in known or column not in _columns_of(connection, table):
            continue
        query = f"select distinct {column} from {table} where {column} is not null"
        for (old,) in connection.execute(query).fetchall():
            new = _take_in(place_now(old, root), root)
            if new != old:
                connection.execute(f"update {table} set {column} = ? where {column} = ?", (new, old))
    connection.execute("commit")
    return True


def _experiment_place(number: int, address: str | None, root: Path) -> str | None:
    folder = _local(address or "")
    if folder is not None and _STRAY in folder.parts and root.name not in folder.parts:
        return (root / str(number)).as_uri()
    return place_now(address, root) if address else address


def _take_in(address: str, root: Path) -> str:
    """Copy a stray folder of a run or model below the root; the address stays where there is none."""
    folder = _local(address)
    if folder is None or folder.is_relative_to(root) or _STRAY not in folder.parts or not folder.is_dir():
        return address
    end = len(folder.parts) - folder.parts[::-1].index(_STRAY)
    target = root.joinpath(*folder.parts[end:])
    shutil.copytree(folder, target, dirs_exist_ok=True)
    return target.as_uri()


def _columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"pragma table_info('{table}')")}


def _local(address: str) -> Path | None:
    """The folder behind an address on this machine."""
    parts = urlsplit(address) if address.startswith("file:") else None
    if parts is not None:
        return Path(unquote(parts.path)) if parts.netloc in ("", "localhost") else None
    return Path(address) if address.startswith("/") else None
