"""What this machine is."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: CPU flags that multiply bfloat16 in hardware. Without one, vLLM emulates it: ten times slower than float32.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

_GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name and its memory in GiB."""

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Hardware:
    """A machine: CPUs that we may use, memory in GiB, CPU flags, and its GPUs."""

    cpu_count: int
    memory_gib: float
    cpu_flags: frozenset[str]
    gpus: tuple[Gpu, ...]

    @property
    def cpu_dtype(self) -> str:
        """The number format in which vLLM is fastest on this CPU: bfloat16 or float32."""
        return "bfloat16" if self.cpu_flags & _BFLOAT16_FLAGS else "float32"


@dataclass(frozen=True)
class Problem:
    """Why an expert cannot run here, and what to do about it."""

    what: str
    fix: str


def probe_hardware() -> Hardware:
    """Look at this machine without loading torch; in a container, at the container's share of it."""
    return Hardware(
        cpu_count=_cpu_count(),
        memory_gib=_memory_gib(),
        cpu_flags=_cpu_flags(),
        gpus=_gpus(),
    )


def _cpu_count() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, max(1, round(int(quota[0]) / int(quota[1]))))
    return count


def _memory_gib() -> float:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(physical, int(limit) if limit.isdigit() else physical) / _GIB


def _cpu_flags() -> frozenset[str]:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def _gpus() -> tuple[Gpu, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()  # a driver that does not answer is a GPU that cannot be used
    rows = [line.rsplit(",", 1) for line in listing.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(mib) / 1024) for name, mib in rows)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
