"""What a gateway's processes use: CPU and memory, by what they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil


def processes(roots: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """Return the processes given and all below them."""
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from (root, *root.children(recursive=True))


def part_of(process: psutil.Process) -> str:
    """Return what a process is: a Serve deployment, Ray's proxy, its own services, or its program's name."""
    title = process.cmdline()[0] if process.cmdline() else process.name()
    if title.startswith("ray::ServeReplica:"):
        return ":".join(title.split(".")[0].split(":")[4:])
    if title.startswith(("ray::ProxyActor", "ray::HAProxyManager")):
        return "Serve's proxy"
    if title.startswith("ray::ServeController"):
        return "Serve's controller"
    if title.startswith("ray::"):
        return "Ray's workers"
    name = process.name()
    if name in {"raylet", "gcs_server"} or any("/ray/" in word for word in process.cmdline()[:3]):
        return "Ray's own"
    return name


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU, user's and system's, of processes so far: by process id, with what each of them is."""

    used: dict[int, tuple[str, float]]

    @classmethod
    def of(cls, roots: Iterable[psutil.Process]) -> Cpu:
        used = {}
        for process in processes(roots):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used[process.pid] = part_of(process), times.user + times.system
        return cls(used)

    def since(self, before: Cpu) -> dict[str, float]:
        """Return the seconds used since then, by part."""
        spent: dict[str, float] = {}
        for pid, (part, seconds) in self.used.items():
            spent[part] = spent.get(part, 0.0) + seconds - before.used.get(pid, ("", 0.0))[1]
        return spent


def memory_mib(roots: Iterable[psutil.Process]) -> dict[str, float]:
    """Return the resident memory by part; pages that processes share count in each of them."""
    held: dict[str, float] = {}
    for process in processes(roots):
        with contextlib.suppress(psutil.Error):
            part = part_of(process)
            held[part] = held.get(part, 0.0) + process.memory_info().rss / 2**20
    return held
