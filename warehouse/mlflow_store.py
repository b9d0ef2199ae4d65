"""Point MLflow at a store, quietly and for this process alone; see first that the store can be used."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warehouse.errors import InputError
from warehouse.mlflow_places import ARTIFACTS, settle_places, sqlite_path, sqlite_uri
from warehouse.reachable import check_http, check_url

#: What the two calls below write into the environment.
_WRITTEN = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")

#: MLflow reports every table it makes and every file it moves; its read-outs are in the UI. A server that
#: went away between two calls is otherwise waited for a quarter of an hour.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}

#: What it prints, not logs, of a model that it registered.
_NEWS = ("Successfully registered model", "Registered model ", "Created version ")

#: Seconds that a database which another program writes to is waited for.
_LOCKED_S = 2.0
#: Seconds that another first command may take to make the database's tables.
_MAKING_S = 120.0


def open_store(tracking_uri: str) -> None:
    """See that a store can be used, and make it ready: its tables made once, its addresses those of today.

    Cheap; called before every piece of work that will need the store, so that no hour of work ends in vain.

    Raises:
        InputError: its database is locked or damaged, its folder cannot be written to, or its server does not
            answer. Within seconds.
    """
    path = sqlite_path(tracking_uri)
    if path is not None:
        _open_database(path, tracking_uri)
    elif tracking_uri.startswith(("http://", "https://")):
        check_http(
            tracking_uri,
            "the MLflow server",
            fix="start it, or name another with MLFLOW_TRACKING_URI; unset, the home's own store is used",
        )
    elif "://" in tracking_uri and "@" in tracking_uri:
        check_url(tracking_uri, "MLflow's database", fix="start it, or name another with MLFLOW_TRACKING_URI")


def point_mlflow(tracking_uri: str) -> None:
    """Make ``tracking_uri`` this process's store for runs and for the registry.

    MLflow also writes it into the environment, which Ray hands on to every worker it starts later and every
    command takes for the user's own wish: the environment is put back as it was.
    """
    _be_quiet()
    import mlflow

    named = {variable: os.environ.get(variable) for variable in _WRITTEN}
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    for variable, former in named.items():
        if former is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = former


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's and Alembic's reports of their own work off the screen while the block runs."""
    _be_quiet()
    from mlflow.utils.logging_utils import disable_logging, enable_logging

    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.ERROR)
    disable_logging()
    try:
        with warnings.catch_warnings(), _without_news():
            warnings.filterwarnings("ignore", message=".*input example was not provided")
            yield
    finally:
        enable_logging()
        alembic.setLevel(level)


@contextmanager
def _without_news() -> Iterator[None]:
    """Drop the lines that MLflow prints, past its logger, when it registers a model."""
    from mlflow.tracking._model_registry import fluent

    tell = fluent.eprint
    fluent.eprint = lambda said, *rest, **options: said.startswith(_NEWS) or tell(said, *rest, **options)
    try:
        yield
    finally:
        fluent.eprint = tell


def _be_quiet() -> None:
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)


def _open_database(path: Path, uri: str) -> None:
    """Make the tables if there are none, one command after the other, and correct addresses."""
    try:
        ready = _settle(path)
    except sqlite3.OperationalError:
        ready = False  # perhaps another command is just making it: it holds the lock that we wait for
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error
    if ready:
        return
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=_MAKING_S):
            if not _settle(path):
                if path.exists() and path.stat().st_size:
                    _make_tables(uri)  # a file of somebody's, who may keep other tables in it
                else:
                    _make_database(path)
                path.chmod(0o600)
                _settle(path)
    except filelock.Timeout:
        raise InputError(
            f"another command has been making this database for over {_MAKING_S:.0f} s",
            where=str(path),
            fix="wait for it, or end it",
        ) from None
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise InputError(
            f"MLflow's database cannot be made ({error.strerror or error})",
            where=str(path),
            fix="free space there, or give --home or LEEROO_HOME a folder that you may write to",
        ) from error


def _make_database(path: Path) -> None:
    """Make the tables in a file of its own, which takes its place when it is whole.

    MLflow makes them in some sixty steps. After a full disk or a kill it cannot go on from the middle.
    """
    aside = path.with_name(f".{path.name}.making")
    for former in (aside, aside.with_name(f"{aside.name}-journal")):
        former.unlink(missing_ok=True)
    try:
        _make_tables(sqlite_uri(aside))
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _make_tables(uri: str) -> None:
    from mlflow import MlflowClient

    with quiet_mlflow():
        MlflowClient(uri, registry_uri=uri).search_experiments(max_results=1)


def _settle(path: Path) -> bool:
    """Correct the addresses of a database that is there; False where its tables have yet to be made."""
    if not path.exists():
        return False
    with contextlib.closing(_connect(path)) as connection:
        tables = connection.execute("select name from sqlite_master where name = 'experiments'").fetchall()
        if not tables or not connection.execute("select 1 from experiments limit 1").fetchall():
            return False
        try:
            settle_places(connection, path.parent / ARTIFACTS)
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):  # a home that may only be read is read by the way of `place_now`
                raise
    return True


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)


def _unusable(path: Path, error: sqlite3.OperationalError) -> InputError:
    if "locked" in str(error) or "busy" in str(error):
        return InputError(
            "another program has locked MLflow's database",
            where=str(path),
            fix="end that program, or wait until it is done",
        )
    return InputError(
        f"MLflow's database cannot be used ({error})",
        where=str(path),
        fix="see that you may write to the file and its folder, and that there is space",
    )


def _damaged(path: Path, error: sqlite3.DatabaseError) -> InputError:
    return InputError(
        f"MLflow's database is damaged ({error})",
        where=str(path),
        fix="restore the file from a copy; without it, move it away, and `leeroo train` makes a router anew",
    )
