"""Keeps HAProxy running: one process on each node, ``keeper.py DIRECTORY``, started by ``launcher.py``.

HAProxy and Ray's manager of it may each be killed. Without the manager, HAProxy goes on until Ray has
started a new one. Without HAProxy, the keeper starts another at once, and ends the manager, which would not
know the new process. When Ray's node ends, HAProxy ends too. Uses only the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_STATE = "front.json"  # as ``launcher.py`` writes it
_STOPPING_S = 0.5  # a manager that ends HAProxy is ended itself within this time
_REPLACED_S = 30.0  # Ray starts another manager within this time, or means to have none
_LONGEST_WAIT_S = 5.0


class Keeper:
    """Watches the processes that ``front.json`` names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self) -> None:
        """Watch until Ray's node has ended, or has no front any more."""
        while True:
            state = self._read()
            haproxy, manager, raylet = state["haproxy"], state["manager"], state["raylet"]
            _wait_for_end([haproxy, manager, raylet], _LONGEST_WAIT_S)
            if not _lives(raylet):
                break
            if self._read() != state:  # replaced meanwhile
                continue
            if not _lives(haproxy):
                _wait_for_end([manager], _STOPPING_S)
                if _lives(manager) and self._read() == state:
                    self._start_again(state)
                    continue
            if not _lives(manager) and not self._is_replaced(state):
                break
        for pid in self._running():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self._directory / _STATE).read_text())
        return state

    def _start_again(self, state: dict[str, Any]) -> None:
        """Start what was killed, and have Ray make a manager that knows it."""
        running = self._running()
        is_there = bool(
            running
        )  # one that was to be replaced, by one that did not start: its manager knows it
        if not is_there:
            with open(os.devnull, "r+b") as nothing:
                started = subprocess.Popen(
                    state["command"], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
                )
            running = [started.pid]
        fresh = self._directory / f"{_STATE}.{os.getpid()}"
        fresh.write_text(json.dumps(state | {"haproxy": running[0]}))
        fresh.replace(self._directory / _STATE)
        if not is_there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state["manager"], signal.SIGKILL)

    def _is_replaced(self, state: dict[str, Any]) -> bool:
        ends = time.monotonic() + _REPLACED_S
        while time.monotonic() < ends and _lives(state["raylet"]):
            if self._read()["manager"] != state["manager"]:
                return True
            time.sleep(0.1)
        return False

    def _running(self) -> list[int]:
        """Return the processes that are a HAProxy of this directory."""
        binary, *options = [os.fsencode(word) for word in self._read()["command"]]
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if words[0] == binary and words[1 : len(options)] == options[:-1]:
                    found.append(int(process.name))
        return found


def _lives(pid: int) -> bool:
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"  # not one that nobody has asked for yet


def _wait_for_end(pids: Iterable[int], timeout_s: float) -> None:
    """Return when one of these processes has ended, or after a time."""
    poll = select.poll()
    with contextlib.ExitStack() as stack:
        for pid in pids:
            try:
                watched = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            stack.callback(os.close, watched)
            poll.register(watched, select.POLLIN)
        poll.poll(timeout_s * 1000)


def main() -> None:
    """Keep one directory's HAProxy running, unless another process does so already."""
    directory = Path(sys.argv[1])
    with open(directory / "keeper.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what is started here
        with contextlib.suppress(FileNotFoundError):  # the directory is being removed
            Keeper(directory).run()


if __name__ == "__main__":
    main()
