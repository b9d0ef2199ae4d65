"""Fitted parts on disk: JSON for settings, safetensors for arrays; nothing is pickled or executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.mapped_arrays import map_arrays

SETTINGS, ARRAYS = "states.json", "states.safetensors"


@dataclass(frozen=True)
class State:
    """A fitted part as plain data, to be written without pickle: JSON values and arrays."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def header(self) -> dict[str, Any]:
        """Kind and settings, for the settings of what holds this part."""
        return {"kind": self.kind, "config": self.config}

    def prefixed(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays under names that begin with ``prefix/``, for the arrays of what holds this part."""
        return {f"{prefix}/{key}": array for key, array in self.arrays.items()}

    def part(self, header: dict[str, Any], prefix: str) -> State:
        """The state of a part, from its :meth:`header` and the arrays here that begin with ``prefix/``."""
        own = {k.removeprefix(f"{prefix}/"): a for k, a in self.arrays.items() if k.startswith(f"{prefix}/")}
        return State(header["kind"], header["config"], own)


def write_states(directory: Path, states: dict[str, State]) -> None:
    """Write named states as one JSON and one safetensors file; who has mapped the former file keeps it."""
    from safetensors.numpy import save_file

    settings = {name: state.header() for name, state in states.items()}
    arrays = {
        key: np.ascontiguousarray(array)
        for name, state in states.items()
        for key, array in state.prefixed(name).items()
    }
    new = directory / f"{ARRAYS}.new"
    save_file(arrays, new)
    new.replace(directory / ARRAYS)
    (directory / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")


def read_states(directory: Path, *, mapped: bool = False) -> dict[str, State]:
    """Read what :func:`write_states` wrote; ``mapped`` arrays share memory, and are read only."""
    from safetensors.numpy import load_file

    settings: dict[str, Any] = json.loads((directory / SETTINGS).read_text())
    path = directory / ARRAYS
    everything = State("", {}, map_arrays(path) if mapped else load_file(path))
    return {name: everything.part(header, name) for name, header in settings.items()}
