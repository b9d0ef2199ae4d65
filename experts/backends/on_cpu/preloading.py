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
_OPENMP = ("libiomp", "libgomp", "libomp")
_ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")


@dataclass(frozen=True)
class Preload:
    """One of them: what it is, libraries of its kind, where it lies (None: not at hand), how to get it."""

    name: str
    kind: tuple[str, ...]
    library: str | None
    fix: str


@cache
def find_preloads() -> tuple[Preload, ...]:
    """Look for them on this machine; Intel's is for x86."""
    tcmalloc = ctypes.util.find_library("tcmalloc_minimal")
    found = [Preload("tcmalloc", _ALLOCATORS, tcmalloc, "apt-get install libtcmalloc-minimal4")]
    if platform.machine() == "x86_64":
        found.insert(0, Preload("Intel's OpenMP", _OPENMP, _intel_openmp(), "pip install intel-openmp"))
    return tuple(found)


def preload_env() -> dict[str, str]:
    """Return the environment variable that loads those at hand; what it holds stays in it, and goes first.

    Of a kind that is there already there is no second one: vLLM refuses to start with two OpenMP libraries.
    """
    held = os.environ.get(_VARIABLE, "")
    libraries = [held] if held else []
    libraries += [
        preload.library
        for preload in find_preloads()
        if preload.library and not any(name in held for name in preload.kind)
    ]
    return {_VARIABLE: ":".join(libraries)} if libraries else {}


def _intel_openmp() -> str | None:
    """Return its path in this environment: it comes as a wheel without code for Python."""
    try:
        files = importlib.metadata.files("intel-openmp") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(file.locate()).resolve() for file in files if file.name == "libiomp5.so")
    return next((str(path) for path in paths if path.is_file()), None)
