"""What works for a driver ends with it, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCHER = """
import sys, time
from pipelines.answering import driver_watch
from pipelines.answering.driver_watch import Driver, _end_with, _started
import threading
pid = int(sys.argv[1])
if sys.argv[2] == "polling":
    def missing(pid): raise OSError(38, "Function not implemented")
    driver_watch.os.pidfd_open = missing
started = _started(pid) if sys.argv[2] != "another" else "1"
threading.Thread(target=_end_with, args=(Driver("", pid, started),), daemon=True).start()
print("watching", flush=True)
time.sleep(60)
"""


def watch(pid: int, way: str) -> subprocess.Popen[bytes]:
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(pid), way], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert watcher.stdout is not None
    watcher.stdout.readline()
    return watcher


@pytest.mark.parametrize("way", ["waiting", "polling"])
def test_it_ends_when_the_driver_is_killed(way: str) -> None:
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    watcher = watch(driver.pid, way)
    try:
        time.sleep(0.5)
        assert watcher.poll() is None
        driver.send_signal(signal.SIGKILL)  # not waited for: a zombie is as dead
        began = time.monotonic()
        assert watcher.wait(10) == 1
        assert time.monotonic() - began < 2
    finally:
        for process in (driver, watcher):
            process.kill()
            process.wait()


@pytest.mark.parametrize("way", ["another", "waiting"])
def test_it_ends_at_once_where_the_driver_is_gone(way: str) -> None:
    """Gone before it was looked for, or its number is another process's by now."""
    pid = os.getpid()
    if way == "waiting":
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        pid = gone.pid
    watcher = watch(pid, way)
    try:
        assert watcher.wait(10) == 1
    finally:
        watcher.kill()
        watcher.wait()
