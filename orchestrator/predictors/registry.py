"""The predictors by name.

To add one: a file beside this that defines a class with the interface of
:class:`~orchestrator.predictors.base.Predictor`, and a row in :data:`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.predictors.added_experts import ExtendedPredictor
from orchestrator.predictors.base import Predictor
from orchestrator.predictors.cluster import ClusterPredictor
from orchestrator.predictors.difficulty import DifficultyPredictor
from orchestrator.predictors.knn import KnnPredictor
from orchestrator.predictors.latent import LatentExpertPredictor
from orchestrator.predictors.recalibrated import RecalibratedPredictor
from orchestrator.predictors.ridge import RidgePredictor
from orchestrator.predictors.stack import StackPredictor, knn_and_domain
from orchestrator.predictors.states import OTHER_VERSION, State
from orchestrator.predictors.subject import SubjectPredictor
from warehouse import InputError


@dataclass(frozen=True)
class Kind:
    """A class of predictors, and the function that makes an unfitted one."""

    cls: type[Predictor]  # its ``kind`` is the name that it is saved under
    build: Callable[[], Predictor] | None  # None: it is never trained from nothing
    offered: bool = True  # to people, as a router's predictor
    version: int = 1  # the latest of its states that can be read; earlier ones can too


KINDS: dict[str, Kind] = {
    "knn": Kind(KnnPredictor, KnnPredictor),
    "cluster": Kind(ClusterPredictor, ClusterPredictor),
    "ridge": Kind(RidgePredictor, RidgePredictor),
    "latent": Kind(LatentExpertPredictor, LatentExpertPredictor),
    "subject": Kind(SubjectPredictor, SubjectPredictor),
    "stack": Kind(StackPredictor, StackPredictor),
    "knn+domain": Kind(StackPredictor, lambda: StackPredictor(knn_and_domain)),
    "difficulty": Kind(DifficultyPredictor, DifficultyPredictor, offered=False),  # a member of the stack
    "extended": Kind(ExtendedPredictor, None, offered=False),  # made by adding experts to a fitted one
    "recalibrated": Kind(RecalibratedPredictor, None, offered=False),  # a fitted one, corrected by traffic
}
DEFAULT_PREDICTOR = "stack"


def offered_predictors() -> list[str]:
    """The names that ``--predictor`` accepts."""
    return [name for name, kind in KINDS.items() if kind.offered]


def describe_predictors() -> str:
    """The names for the help of an option."""
    *first, last = offered_predictors()
    return f"{', '.join(first)} or {last}"


def build_predictor(kind: str) -> Predictor:
    """Return an unfitted predictor.

    Raises:
        InputError: no predictor that can be trained is of that kind.
    """
    build = KINDS[kind].build if kind in KINDS else None
    if build is None:
        raise InputError(
            f"no predictor is called {kind!r}", fix=f"use one of {', '.join(sorted(offered_predictors()))}"
        )
    return build()


def predictor_from_state(state: State) -> Predictor:
    """Rebuild the fitted predictor that a state describes.

    Raises:
        InputError: no predictor is saved under that name here, or it was saved by a later version.
    """
    for kind in KINDS.values():
        if kind.cls.kind == state.kind:
            state.refuse_newer(kind.version)
            return kind.cls.from_state(state, predictor_from_state)
    raise InputError(f"the saved predictor {state.kind!r} is not known to this version", fix=OTHER_VERSION)
