"""Experts behind an OpenAI-compatible API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem
from experts.backends.kind import BackendKind
from experts.catalogue.spec import ExpertSpec
from experts.upstream.credentials import read_key
from warehouse import CannotRunError


def _build(specs: Sequence[ExpertSpec], _cache_dir: str | Path | None) -> dict[str, Backend]:
    from experts.backends.openai_backend import OpenAIBackend

    return {spec.name: OpenAIBackend(spec) for spec in specs}


def _check_runnable(spec: ExpertSpec, _hardware: Hardware) -> list[Problem]:
    try:
        read_key(spec)
    except CannotRunError as error:
        return [Problem(error.what, error.fix or "")]
    return []


OPENAI = BackendKind(
    build=_build,
    check_runnable=_check_runnable,
    in_flight=lambda spec: spec.concurrency,
    # One process asks an API: its limits are kept by whoever counts all requests.
    most_replicas=lambda _spec: 1,
    is_paid=True,
)
