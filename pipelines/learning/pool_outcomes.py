"""The outcomes of a pool: experts named by options, by a pool file, or by router versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.asking.readings import Readings
from universe.pool_file import PoolFile, read_pool_file
from warehouse import InputError, Outcomes, load_outcomes, split_names
from warehouse.home import Home


def load_pool_outcomes(place: Home, pool: str | None, experts: str | None, source: str | None) -> Outcomes:
    """Load the outcomes that the options ask for.

    Args:
        place: whose warehouse.
        pool: ``FILE`` or ``FILE:NAME`` of a pool.
        experts: names or globs, by commas.
        source: sources of questions, by commas.

    Raises:
        InputError: no such pool file or name, experts named in both ways, or no outcomes.
    """
    if pool and experts:
        raise InputError("--pool and --experts both name the experts", fix="give one of them")
    wanted, sources = (split_names(experts) or None), (split_names(source) or None)
    if pool:
        found = find_pool(pool)
        wanted = list(found.experts)
        sources = sources or ([found.benchmark] if found.benchmark else None)
    return load_outcomes(place.warehouse(), experts=wanted, sources=sources)


def load_named(place: Home, experts: Sequence[str], sources: Sequence[str]) -> Outcomes:
    """Load what these experts made of these sources' questions; of none named, all; answered ones alone."""
    return load_outcomes(place.warehouse(), experts=experts or None, sources=sources or None).answered()


def load_readings(place: Home, outcomes: Outcomes) -> Readings:
    """Load what the answers behind these outcomes say, in forms that can be compared."""
    from experts.grading.replies import load_replies

    replies = load_replies(place.warehouse(), outcomes.question_ids.tolist(), outcomes.experts)
    return Readings.from_keys(
        replies.answer, np.isfinite(outcomes.score), outcomes.chance, outcomes.completion_tokens
    )


def find_pool(pool: str) -> PoolFile:
    """Read a pool that an option names: ``FILE``, whose list ``experts`` is meant, or ``FILE:NAME``.

    Raises:
        InputError: no such file or name, or no list of experts there.
    """
    path, name = Path(pool), None
    if not path.is_file() and ":" in pool:
        file, _, name = pool.rpartition(":")
        path = Path(file)
    if not path.is_file():
        raise InputError("there is no such pool file", where=str(path), fix="give --pool FILE or FILE:NAME")
    return read_pool_file(path, name, fix="name a pool as FILE:NAME, or add a list of expert names")


def champion_pool(place: Home, experts: list[str]) -> list[str]:
    """The experts of a version and of the champion that it will be compared with."""
    from orchestrator.versions.mlflow_registry import champion_version, load_version

    former = champion_version(place.mlflow_uri)
    champion = load_version(place.mlflow_uri, former).info["experts"] if former else []
    return list(dict.fromkeys([*champion, *experts]))
