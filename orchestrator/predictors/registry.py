"""Fitted parts on disk: JSON for settings, safetensors for arrays; nothing is pickled or executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.predictors.added_experts import ExtendedPredictor
from orchestrator.predictors.base import Predictor, State
from orchestrator.predictors.cluster import ClusterPredictor
from orchestrator.predictors.knn import KnnPredictor
from orchestrator.predictors.latent import LatentExpertPredictor
from orchestrator.predictors.ridge import RidgePredictor
from orchestrator.predictors.stack import StackPredictor, knn_and_domain
from orchestrator.predictors.subject import SubjectPredictor
from warehouse import InputError

SETTINGS, ARRAYS = "states.json", "states.safetensors"

PREDICTORS: dict[str, type[Predictor]] = {
    predictor.kind: predictor
    for predictor in (
        KnnPredictor,
        ClusterPredictor,
        RidgePredictor,
        LatentExpertPredictor,
        SubjectPredictor,
        StackPredictor,
    )
}

#: What ``--predictor`` may name: every kind, and one stack with other members.
BUILDERS: dict[str, Callable[[], Predictor]] = {
    **PREDICTORS,
    "knn+domain": lambda: StackPredictor(knn_and_domain),
}


def build_predictor(kind: str) -> Predictor:
    """Return an unfitted predictor.

    Raises:
        InputError: no predictor is of that kind.
    """
    if kind not in BUILDERS:
        raise InputError(f"no predictor is called {kind!r}", fix=f"use one of {', '.join(sorted(BUILDERS))}")
    return BUILDERS[kind]()


def predictor_from_state(state: State) -> Predictor:
    """Rebuild the fitted predictor that a state describes."""
    if state.kind == ExtendedPredictor.kind:
        return ExtendedPredictor.from_state(state)
    if state.kind not in PREDICTORS:
        raise InputError(f"the saved predictor {state.kind!r} is not known to this version")
    return PREDICTORS[state.kind].from_state(state)


def write_states(directory: Path, states: dict[str, State]) -> None:
    """Write named states as one JSON and one safetensors file."""
    from safetensors.numpy import save_file

    settings = {name: {"kind": state.kind, "config": state.config} for name, state in states.items()}
    arrays = {
        f"{name}/{key}": np.ascontiguousarray(array)
        for name, state in states.items()
        for key, array in state.arrays.items()
    }
    save_file(arrays, directory / ARRAYS)
    (directory / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")


def read_states(directory: Path) -> dict[str, State]:
    """Read what :func:`write_states` wrote."""
    from safetensors.numpy import load_file

    settings: dict[str, Any] = json.loads((directory / SETTINGS).read_text())
    arrays: dict[str, dict[str, Any]] = {name: {} for name in settings}
    for key, array in load_file(directory / ARRAYS).items():
        name, _, rest = key.partition("/")
        arrays[name][rest] = array
    return {name: State(part["kind"], part["config"], arrays[name]) for name, part in settings.items()}
