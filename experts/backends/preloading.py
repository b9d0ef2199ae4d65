"""Libraries that make vLLM faster on a CPU where they are loaded before it: Intel's OpenMP and tcmalloc."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_VARIABLE = "LD_PRELOAD"


@dataclass(frozen=True)
class Preload:
    """One of them: what it is, where it lies (None where it is not at hand), and how to get it."""

    name: str
    library: str | None
    fix: str


@cache
def find_preloads() -> tuple[Preload, ...]:
    """Look for them on this machine; Intel's is for x86."""
    tcmalloc = ctypes.util.find_library("tcmalloc_minimal")
    found = [Preload("tcmalloc", tcmalloc, "apt-get install libtcmalloc-minimal4")]
    if platform.machine() == "x86_64":
        found.insert(0, Preload("Intel's OpenMP", _intel_openmp(), "pip install intel-openmp"))
    return tuple(found)


def preload_env() -> dict[str, str]:
    """Return the environment variable that loads those at hand; what it holds already stays in it."""
    asked = [name for name in os.environ.get(_VARIABLE, "").split(":") if name]
    found = [preload.library for preload in find_preloads() if preload.library]
    libraries = list(dict.fromkeys([*asked, *found]))
    return {_VARIABLE: ":".join(libraries)} if libraries else {}


def _intel_openmp() -> str | None:
    """Return its path in this environment: it comes as a wheel without code for Python."""
    try:
        files = importlib.metadata.files("intel-openmp") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(file.locate()).resolve() for file in files if file.name == "libiomp5.so")
    return next((str(path) for path in paths if path.is_file()), None)
