"""A PostgreSQL server of the tests' own, in a temporary folder, reached by a Unix socket."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

MISSING = "PostgreSQL's server is not installed here (Debian: apt-get install postgresql)"
_USER = "leeroo"
#: What a kill of its processes does not touch need not reach the disk.
_FORGETFUL = "-c fsync=off -c full_page_writes=off"
_SETTINGS = "-c listen_addresses= -c shared_buffers=32MB -c max_connections=80"


def find_program(name: str) -> str | None:
    """Return where a program of the server is; Debian keeps them off the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


class LocalPostgres:
    """One server, of ``nobody`` where root starts it; ``kill`` and ``start`` as a test likes.

    Raises:
        RuntimeError: it does not start; with what it said.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        """Start one; a durable one writes to the disk at every commit, as servers do that are no test's."""
        programs = [find_program(name) for name in ("initdb", "pg_ctl")]
        if None in programs:
            raise FileNotFoundError(MISSING)
        if importlib.util.find_spec("psycopg") is None:
            raise FileNotFoundError("psycopg is not installed: the extra `postgres` brings it")
        self._initdb, self._control = programs
        self._known: set[str] = set()
        self._settings = _SETTINGS if is_durable else f"{_SETTINGS} {_FORGETFUL}"
        memory = None if is_durable or not os.access("/dev/shm", os.W_OK) else "/dev/shm"
        self.folder = Path(tempfile.mkdtemp(prefix="leeroo-pg-", dir=memory))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run(self._initdb, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        log = str(self.folder / "log")
        self._run(self._control, "-w", "-l", log, "-o", f"{self._settings} -k {self.folder}", "start")

    def kill(self) -> None:
        """Kill the server and all its processes, as a node that loses its power does."""
        first = self.pid
        processes = [first, *(pid for pid, parent in _processes() if parent == first)]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while set(processes) & {pid for pid, _ in _processes()}:
            time.sleep(0.01)
        # Where nobody takes note of the dead, as in a container, their ids are those of a server still.
        for lock in ("data/postmaster.pid", ".s.PGSQL.5432.lock"):
            (self.folder / lock).unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The server's first process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def url(self, name: object) -> str:
        """Return the URL of a ledger of its own: a schema for this name, made where it is not there."""
        import psycopg

        schema = f"l{blake2b(str(name).encode(), digest_size=8).hexdigest()}"
        if schema not in self._known:
            with psycopg.connect(self.database, autocommit=True) as connection:
                connection.execute(f"create schema if not exists {schema}")
            self._known.add(schema)
        return f"{self.database}&options={quote(f'-csearch_path={schema}')}"

    @property
    def database(self) -> str:
        """The URL of the server's first database."""
        return f"postgresql://{_USER}@/postgres?host={quote(str(self.folder), safe='')}"

    def close(self) -> None:
        """Stop the server, and remove what it wrote."""
        with suppress(RuntimeError):
            self._run(self._control, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str | None, *words: str) -> None:
        lent = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        command = [str(program), "-D", str(self.folder / "data"), *words]
        log = self.folder / "said"
        with open(log, "w") as said:  # a pipe would stay open as long as the server runs
            done = subprocess.run(command, cwd="/", stdout=said, stderr=subprocess.STDOUT, **lent)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {log.read_text()[-2_000:]}")


def _processes() -> Iterator[tuple[int, int]]:
    """Yield the ids of living processes, each with its parent's."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(stat.parent.name), int(parent)
