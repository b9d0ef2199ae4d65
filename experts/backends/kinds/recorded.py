"""Experts whose answers were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem
from experts.backends.kind import BackendKind
from experts.catalogue.spec import ExpertSpec

_AT_ONCE = 256  # lookups


def _build(specs: Sequence[ExpertSpec], _cache_dir: str | Path | None) -> dict[str, Backend]:
    from experts.backends.recorded_backend import RecordedBackend

    return {spec.name: RecordedBackend(spec) for spec in specs}


def _check_runnable(spec: ExpertSpec, _hardware: Hardware) -> list[Problem]:
    if spec.recording is not None and Path(spec.recording).exists():
        return []
    fix = "set `recording:` to a Parquet file or folder"
    return [Problem(f"the recording {spec.recording!r} is not there", fix)]


RECORDED = BackendKind(
    build=_build,
    check_runnable=_check_runnable,
    in_flight=lambda _spec: _AT_ONCE,
    most_replicas=lambda spec: spec.resources.replicas_max,
    can_be_asked=False,
)
