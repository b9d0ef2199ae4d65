"""Fitted parts on disk: JSON for settings, safetensors for arrays; nothing is pickled or executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Write named states as one JSON and one safetensors file."""
    from safetensors.numpy import save_file

    settings = {name: state.header() for name, state in states.items()}
    arrays = {
        key: np.ascontiguousarray(array)
        for name, state in states.items()
        for key, array in state.prefixed(name).items()
    }
    save_file(arrays, directory / ARRAYS)
    (directory / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")


def read_states(directory: Path) -> dict[str, State]:
    """Read what :func:`write_states` wrote."""
    from safetensors.numpy import load_file

    settings: dict[str, Any] = json.loads((directory / SETTINGS).read_text())
    everything = State("", {}, load_file(directory / ARRAYS))
    return {name: everything.part(header, name) for name, header in settings.items()}
