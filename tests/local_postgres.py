"""A PostgreSQL server of the tests' own, in a temporary folder, reached by a Unix socket."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

MISSING = "PostgreSQL's server is not installed here (Debian: apt-get install postgresql)"
_USER = "leeroo"
#: What a kill of its processes does not touch need not reach the disk.
_SETTINGS = (
    "-c fsync=off -c full_page_writes=off -c listen_addresses= -c shared_buffers=32MB -c max_connections=60"
)


def find_program(name: str) -> str | None:
    """Return where a program of the server is; Debian keeps them off the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


class LocalPostgres:
    """One server; ``kill`` and ``start`` as a test likes. It refuses to be run by root, so root lends a user.

    Raises:
        RuntimeError: it does not start; with what it said.
    """

    def __init__(self) -> None:
        programs = [find_program(name) for name in ("initdb", "pg_ctl")]
        if None in programs:
            raise FileNotFoundError(MISSING)
        if importlib.util.find_spec("psycopg") is None:
            raise FileNotFoundError("psycopg is not installed: the extra `postgres` brings it")
        self._initdb, self._control = programs
        self._known: set[str] = set()
        self.folder = Path(tempfile.mkdtemp(prefix="leeroo-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run(self._initdb, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        log = str(self.folder / "log")
        self._run(self._control, "-w", "-l", log, "-o", f"{_SETTINGS} -k {self.folder}", "start")

    def kill(self) -> None:
        """Kill the server and all its processes, as a node that loses its power does."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)  # its children end with it
        with suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                    break

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
