"""Fitted parts on disk: JSON for settings, safetensors for arrays; nothing is pickled or executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.mapped_arrays import map_arrays
from warehouse import InputError

SETTINGS, ARRAYS = "states.json", "states.safetensors"
OTHER_VERSION = "train again: `leeroo train`, or load it with the version that saved it"

T = TypeVar("T")


class Fields(dict[str, T]):
    """Saved fields by name; a missing one raises an error that a person can act on.

    A reader takes ``fields[name]`` for required fields, and ``fields.get(name, default)`` for fields that
    were added later.
    """

    def __init__(self, values: Mapping[str, T], of: str) -> None:
        super().__init__(values)
        self._of = of

    def __missing__(self, name: str) -> T:
        """Raise InputError: the field is missing."""
        raise InputError(f"{name!r} is missing", where=self._of, fix=OTHER_VERSION)


@dataclass(frozen=True)
class State:
    """A fitted part as plain data, to be written without pickle: JSON values and arrays.

    ``version`` is raised when a name changes its meaning or a required field is added. A state without one
    is of version 1.
    """

    kind: str
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    version: int = 1

    def header(self) -> dict[str, Any]:
        """Return kind, version and settings, to be saved in the settings of the containing part."""
        return {"kind": self.kind, "version": self.version, "config": self.config}

    def refuse_newer(self, version: int) -> None:
        """Check that a reader of this version, and of those before it, can read the state.

        Raises:
            InputError: the state is of a later version.
        """
        if self.version > version:
            raise InputError(
                f"the saved {self.kind!r} is of version {self.version}; the latest read here is {version}",
                fix=OTHER_VERSION,
            )

    def prefixed(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays under names that begin with ``prefix/``, for the arrays of what holds this part."""
        return {f"{prefix}/{key}": array for key, array in self.arrays.items()}

    def part(self, header: dict[str, Any], prefix: str) -> State:
        """The state of a part, from its :meth:`header` and the arrays here that begin with ``prefix/``.

        Raises:
            InputError: the header lacks something; later, whatever is read and was not saved.
        """
        own = {k.removeprefix(f"{prefix}/"): a for k, a in self.arrays.items() if k.startswith(f"{prefix}/")}
        fields = Fields(header, f"{prefix} of the saved router")
        of = f"the saved {fields['kind']!r}"
        config, arrays = Fields(fields["config"], f"settings of {of}"), Fields(own, f"arrays of {of}")
        return State(fields["kind"], config, arrays, fields.get("version", 1))


def write_states(directory: Path, states: dict[str, State]) -> None:
    """Write named states as one JSON and one safetensors file; a mapped former file stays valid."""
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


def read_states(directory: Path, *, mapped: bool = False) -> Fields[State]:
    """Read what :func:`write_states` wrote; ``mapped`` arrays share memory and are read-only.

    Raises:
        InputError: a file is missing or broken, or a header lacks something.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = directory / ARRAYS
    settings: dict[str, Any] = read_json(directory / SETTINGS)
    try:
        everything = State("", {}, map_arrays(path) if mapped else load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix=OTHER_VERSION) from None
    return Fields(
        {name: everything.part(header, name) for name, header in settings.items()}, str(directory / SETTINGS)
    )


def read_json(path: Path) -> Fields[Any]:
    """Read a JSON object that was saved with a router.

    Raises:
        InputError: the file is missing, or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix=OTHER_VERSION) from None
    if not isinstance(found, dict):
        raise InputError("not a JSON object", where=str(path), fix=OTHER_VERSION)
    return Fields(found, str(path))
