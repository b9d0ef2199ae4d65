"""What is known beside the traffic's rows: the words of requests, and what a router learned from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.learning.recorded_requests import RecordedRequests, read_requests
from pipelines.traffic.as_questions import Texts
from warehouse import NotReadyError, Warehouse, load_outcomes
from warehouse.home import Home
from warehouse.traffic.texts import TextStore

#: Questions whose embeddings stand for all that were learned from.
MOST_KNOWN = 4_000


def read_recent(home: Home, days: float | None) -> RecordedRequests:
    """The requests of so many days, or all.

    Raises:
        NotReadyError: nothing is recorded.
    """
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    requests = read_requests(home.warehouse(), since=since)
    if not len(requests):
        raise NotReadyError(
            "no request is recorded" + ("" if days is None else f" of the last {days:g} days"),
            where=str(home.path),
            fix="serve some; `leeroo serve --record none` and a request's own store: false leave nothing",
        )
    return requests


def read_texts(home: Home, request_ids: Sequence[str]) -> Texts:
    """The words of those requests whose texts are kept, by request id.

    Raises:
        InputError: they are sealed with a key that the environment does not name.
    """
    return TextStore(home.path).read(request_ids)


def embed_known(
    warehouse: Warehouse,
    embedder: str,
    experts: Sequence[str],
    cache_dir: Path | None,
    *,
    sources: Sequence[str] | None = None,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Embeddings [k, d] of questions that these experts have answered; of many a draw. Empty where none."""
    from orchestrator import load_embedder

    try:
        outcomes = load_outcomes(warehouse, sources=sources)
    except NotReadyError:
        return np.empty((0, 0), np.float32)
    names = [name for name in experts if name in outcomes.experts]
    if not names:
        return np.empty((0, 0), np.float32)
    outcomes = outcomes.only(names).answered()
    if len(outcomes) > MOST_KNOWN:
        drawn = np.random.default_rng(seed).choice(len(outcomes), MOST_KNOWN, replace=False)
        outcomes = outcomes.take(np.sort(drawn))
    vectors = load_embedder(embedder, cache_dir=cache_dir).embed(outcomes.texts)
    return np.asarray(vectors, np.float32)
