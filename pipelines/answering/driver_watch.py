"""Actors that end with their driver: at once, and without another call.

Ray ends the actors of a dead driver too, some seconds later; until then they would ask on, for nobody.
"""

from __future__ import annotations

import os
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.2


@dataclass(frozen=True)
class Driver:
    """The process on whose behalf actors work.

    Attributes:
        node_id: the Ray node on which it runs.
        pid: of the process.
        started: when it began, in the kernel's words; tells another process of the same number apart.
    """

    node_id: str
    pid: int
    started: str | None


def this_driver() -> Driver:
    """Return the mark of this process; needs a Ray connection."""
    import ray

    return Driver(ray.get_runtime_context().get_node_id(), os.getpid(), _started(os.getpid()))


def end_with(driver: Driver) -> None:
    """End this process as soon as the driver has ended, if that runs on the same node.

    Of a driver elsewhere nothing is seen from here: Ray ends the actors of a dead job.
    """
    import ray

    if ray.get_runtime_context().get_node_id() == driver.node_id:
        threading.Thread(target=_end_with, args=(driver,), name="driver-watch", daemon=True).start()


def _end_with(driver: Driver) -> None:
    try:
        descriptor = os.pidfd_open(driver.pid)
    except ProcessLookupError:
        os._exit(1)
    except (AttributeError, OSError):  # an old kernel, or not Linux
        while _runs(driver):
            time.sleep(_POLL_S)
        os._exit(1)
    if _runs(driver):  # the number was still its own when the descriptor was opened
        select.select([descriptor], [], [])
    # Nothing is tidied up: what counts is in the journal, and a tidy end would ask on meanwhile.
    os._exit(1)


def _runs(driver: Driver) -> bool:
    started = _started(driver.pid)
    return started is not None and started == driver.started


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine's start; None once it has ended. Source: proc(5)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = status.rpartition(")")[2].split()  # a name may hold blanks and brackets
    return None if state in "ZX" else fields[18]
