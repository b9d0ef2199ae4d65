"""Explain exceptions of libraries to people: one message with the place and the fix."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from warehouse.errors import CannotRunError, InputError, LeerooError

#: What the operating system says of a place, and what to do.
_PLACES = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose another folder with LEEROO_HOME"),
    errno.EDQUOT: ("your share of the disk is used up", "free some space, or choose another folder"),
    errno.EFBIG: (
        "no file may become so large here",
        "raise the limit (ulimit -f), or choose another folder",
    ),
    errno.EROFS: ("the disk may only be read", "choose another folder with LEEROO_HOME"),
    errno.EACCES: ("you may not open it", "change its owner or mode, or choose another folder"),
    errno.EPERM: ("you may not do this there", "change its owner or mode, or choose another folder"),
    errno.EIO: ("the disk fails to read or write", "look at the disk; restore the files from a copy"),
    errno.ENAMETOOLONG: ("a name in this path is too long", "choose a shorter one"),
    errno.ELOOP: ("links in this path lead to themselves", "mend the links, or choose another folder"),
    errno.ENOTDIR: ("a file stands where a folder should be", "move it away"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.ENOMEM: ("the memory is full", "end other programs, or ask for less at once"),
    errno.EADDRINUSE: ("the port is taken", "choose another with --port"),
}
#: Where the texts of pyarrow, of libraries in Rust and of others hide the system's number.
_NUMBERED = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
#: And where some give its words alone.
_WORDED = {os.strerror(number).lower(): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)}
_LOCKED = "another program has locked the database"
_OTHER = "move it away if another program made it, or use the version of this one that did"
_RESTORE = "restore it from a copy; `leeroo warehouse check` looks at the tables"


def explain(error: BaseException) -> LeerooError | None:
    """Return the error that explains an exception of a library; None if there is no better message.

    The whole chain of causes is searched, since libraries wrap exceptions in their own.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, LeerooError):
            return cause
    for read in (_postgres, _sqlite, _place, _mlflow, _ray, _arrow, _network, _package):
        for cause in reversed(chain):  # the first thing that went wrong says most
            if (found := read(cause)) is not None:
                return found
    return None


def keep_trace(error: BaseException) -> Path | None:
    """Write an exception's traceback into a file that only its owner can read; None if that fails."""
    import tempfile

    try:
        handle, name = tempfile.mkstemp(prefix="leeroo-trace-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(f"{sys.argv}\n")
            stream.write("".join(traceback.format_exception(error)))
    except OSError:
        return None
    return Path(name)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its name."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        original = getattr(error, "cause", None) or getattr(error, "orig", None)  # ray's, sqlalchemy's
        if isinstance(original, BaseException) and id(original) not in seen:
            yield from _causes(original)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _from(error: BaseException, *packages: str) -> bool:
    return type(error).__module__.partition(".")[0] in packages


def _sqlite(error: BaseException) -> LeerooError | None:
    text = str(error)
    if not _from(error, "sqlite3", "sqlalchemy") and "sqlite3." not in text:
        return None
    lowered = text.lower()
    if "locked" in lowered:
        return InputError(_LOCKED, where=_database(error), fix="end that program, or wait until it is done")
    if "disk is full" in lowered:
        return InputError("the disk is full", where=_database(error), fix=_PLACES[errno.ENOSPC][1])
    if "readonly" in lowered or "unable to open" in lowered:
        return InputError(
            "the database cannot be opened for writing",
            where=_database(error),
            fix="check that you may write to the file and its folder",
        )
    if "malformed" in lowered or "not a database" in lowered or "disk i/o" in lowered:
        return InputError("the database is damaged", where=_database(error), fix=_RESTORE)
    if "no such column" in lowered or "no such table" in lowered or "has no column" in lowered:
        return InputError(
            f"the database has other tables than ours ({first_line(error)})",
            where=_database(error),
            fix=_OTHER,
        )
    return None


def _postgres(error: BaseException) -> LeerooError | None:
    """What the ledger's server refuses in the middle; that it is away is told by the ledger itself."""
    if not _from(error, "psycopg"):
        return None
    return InputError(
        f"the database of the ledger refuses this ({first_line(error)})",
        where="LEEROO_LEDGER, or --ledger",
        fix="look at the server's log; `leeroo ledger check` tells whether the ledger is whole",
    )


def _database(error: BaseException) -> str:
    """Which of the home's databases it was, as far as the trace tells."""
    frames = traceback.extract_tb(error.__traceback__)
    names = " ".join(frame.filename for frame in frames) + str(error)
    if "ledger" in names:
        return "the home's ledger.db"
    return "the home's mlflow.db" if "mlflow" in names or "sqlalchemy" in names else "a database of the home"


def _mlflow(error: BaseException) -> LeerooError | None:
    if _from(error, "alembic"):  # a step of a newer MLflow's, which this one does not know
        return InputError(
            f"MLflow's database was written by another version of MLflow ({first_line(error)})",
            where="MLflow",
            fix="install the version that wrote it, or give --home or MLFLOW_TRACKING_URI another",
        )
    if not _from(error, "mlflow"):
        return None
    text = first_line(error)
    if "db upgrade" in str(error):
        return InputError(
            "MLflow's database was written by another version of MLflow",
            where="MLflow",
            fix="copy it, then `mlflow db upgrade URI`, or install the version that wrote it",
        )
    return InputError(f"MLflow failed: {text}", where="MLflow", fix="check MLFLOW_TRACKING_URI")


def _ray(error: BaseException) -> LeerooError | None:
    text = str(error)
    if isinstance(error, ConnectionError) and "Ray" in text:
        return InputError(
            first_line(error), where="Ray", fix="start the cluster, or unset RAY_ADDRESS for one of your own"
        )
    if not _from(error, "ray") and "ray/_private" not in _last_file(error):
        return None
    if isinstance(error, RuntimeError) and "Version mismatch" in text:
        return CannotRunError(
            first_line(error), where="Ray", fix="install the same versions of Ray and Python on both sides"
        )
    if "timed out" in text or "did not start" in text or "NodeDied" in text or _is_named(error, "Timeout"):
        return CannotRunError(
            f"Ray did not start or answer in time: {first_line(error)}",
            where="Ray",
            fix="end other programs, then try again; `leeroo doctor` says what this machine can run",
        )
    if _is_named(
        error, "OutOfMemory", "OutOfDisk", "ActorDied", "ActorUnavailable", "NodeDied", "WorkerCrashed"
    ):
        return CannotRunError(
            f"a process of Ray ended: {first_line(error)}",
            where="Ray",
            fix="make sure that there is enough memory and disk; the same command resumes from what was kept",
        )
    return None


def _arrow(error: BaseException) -> LeerooError | None:
    if not _from(error, "pyarrow", "duckdb", "_duckdb"):
        return None
    return InputError(
        f"a table cannot be read or written: {first_line(error)}",
        where="the warehouse",
        fix="`leeroo warehouse check` names the files that are damaged",
    )


def _network(error: BaseException) -> LeerooError | None:
    is_http = _from(error, "requests", "urllib3", "httpx", "httpcore", "aiohttp", "openai", "huggingface_hub")
    if not is_http and not isinstance(error, (ConnectionError, TimeoutError)):
        return None
    if isinstance(error, BrokenPipeError):
        return None
    return CannotRunError(
        f"a service does not answer: {first_line(error)}",
        where="network",
        fix="check that it runs, its address, and the proxies that the environment names",
    )


def _place(error: BaseException) -> LeerooError | None:
    number = _system_number(error)
    if number not in _PLACES:
        return None
    what, fix = _PLACES[number]
    names = (getattr(error, "filename", None), getattr(error, "filename2", None))
    named = [str(name) for name in names if name is not None]
    return InputError(what, where=" -> ".join(named) or first_line(error), fix=fix)


def _system_number(error: BaseException) -> int | None:
    """The operating system's number of what went wrong, wherever a library put it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _NUMBERED.search(text):
        return int(found.group(1) or found.group(2))
    return next((number for words, number in _WORDED.items() if words in text.lower()), None)


def _package(error: BaseException) -> LeerooError | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    return CannotRunError(
        f"the package {error.name!r} is not installed", where=sys.prefix, fix="run `make setup`"
    )


def _is_named(error: BaseException, *parts: str) -> bool:
    return any(part in type(error).__name__ for part in parts)


def _last_file(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""
