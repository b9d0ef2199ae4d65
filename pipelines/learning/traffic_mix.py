"""What people really ask: recorded requests beside the questions that are known.

A request of which only features are kept has no domain. It is counted to that of the question nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.text.embedder import weights_key
from pipelines.learning.recorded_requests import RecordedRequests, embeddings_of, read_requests
from warehouse import Outcomes
from warehouse.home import Home

#: Of requests, the newest that stand for all.
MOST_READ = 5_000


@dataclass(frozen=True)
class NearestQuestions:
    """For ``t`` recorded requests the known question that each is most like.

    Attributes:
        requests: those that have an embedding.
        position: [t] of the question among those given.
        likeness: [t] cosine.
    """

    requests: RecordedRequests
    position: NDArray[np.int64]
    likeness: NDArray[np.float32]


@dataclass(frozen=True)
class DomainMix:
    """A domain's part of the traffic.

    Attributes:
        domain: as the known questions call it.
        share: of the requests.
        need: in [0, 1], how much is lacking: the mean of 1 less the best forecast, or what users found
            instead, and of the distance to all that is known.
    """

    domain: str
    share: float
    need: float


def find_nearest(home: Home, outcomes: Outcomes) -> NearestQuestions | None:
    """Set the newest recorded requests beside these questions; None where none can be compared.

    Requests that were read by another embedder than the champion's are left out: their vectors tell nothing.
    """
    from orchestrator import load_embedder
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    if not len(outcomes):
        return None
    requests = read_requests(home.warehouse())
    if not len(requests):
        return None
    version = champion_version(home.mlflow_uri)
    name = load_version(home.mlflow_uri, version).info["embedder"] if version else None
    if name is None:
        return None
    reader = load_embedder(name, cache_dir=home.embeddings)
    requests = requests.take(np.arange(max(0, len(requests) - MOST_READ), len(requests)))
    has, vectors = embeddings_of(requests, weights_key(reader.weights))
    if not has.any():
        return None
    known = np.asarray(reader.embed(outcomes.texts), np.float32)
    if known.shape[1] != vectors.shape[1]:
        return None
    position = np.empty(len(vectors), np.int64)
    likeness = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 512):
        alike = vectors[start : start + 512] @ known.T
        position[start : start + 512] = alike.argmax(axis=1)
        likeness[start : start + 512] = alike.max(axis=1)
    return NearestQuestions(requests.take(has), position, likeness)


def mix_domains(nearest: NearestQuestions, domains: NDArray[np.str_]) -> tuple[DomainMix, ...]:
    """Each domain's part of the traffic, the largest first.

    Args:
        nearest: requests beside n questions.
        domains: [n] of the questions.
    """
    requests = nearest.requests
    told = np.array([str(task) if task else "" for task in requests.column("task")])
    own = domains[nearest.position]
    own = np.where(np.isin(told, domains), told, own)
    has_forecast = np.isfinite(requests.success_hat).any(axis=1)
    best = np.full(len(requests), 0.5)
    best[has_forecast] = np.nanmax(requests.success_hat[has_forecast], axis=1)
    found = np.where(np.isfinite(requests.feedback), requests.feedback, best)
    need = np.clip((1 - found) + (1 - np.clip(nearest.likeness, 0, 1)), 0, 2) / 2
    mix = [
        DomainMix(str(name), float((own == name).mean()), float(need[own == name].mean()))
        for name in np.unique(own)
    ]
    return tuple(sorted(mix, key=lambda part: -part.share))


def read_mix(home: Home, learned: Outcomes | None) -> tuple[DomainMix, ...]:
    """Each domain's part of the traffic, by the questions that are learned from; empty without traffic."""
    nearest = find_nearest(home, learned) if learned is not None else None
    return () if nearest is None or learned is None else mix_domains(nearest, learned.domains)
