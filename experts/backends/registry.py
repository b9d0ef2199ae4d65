"""Which class runs which kind of expert."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts.backends.base import Backend
from experts.catalogue.spec import ExpertSpec


def build_backend(spec: ExpertSpec, *, cache_dir: str | Path | None = None) -> Backend:
    """Build the backend of an expert; for vLLM this loads the model.

    Raises InputError when the expert cannot run here (package, key or recording missing).
    """
    return build_backends([spec], cache_dir=cache_dir)[spec.name]


def build_backends(specs: Sequence[ExpertSpec], *, cache_dir: str | Path | None = None) -> dict[str, Backend]:
    """Build the backends of experts that live in one process, by name.

    vLLM experts among them share one engine: they must have the same
    :func:`experts.backends.vllm_engine.shared_engine_key`, as adapters of one base model do. Raises as
    :func:`build_backend`.
    """
    backends: dict[str, Backend] = {}
    if local := [spec for spec in specs if spec.backend == "vllm"]:
        from experts.backends.vllm_backend import VllmBackend
        from experts.backends.vllm_engine import SharedEngine

        engine = SharedEngine(local, cache_dir=cache_dir)
        backends |= {spec.name: VllmBackend(spec, engine) for spec in local}
    for spec in specs:
        if spec.backend == "openai":
            from experts.backends.openai_backend import OpenAIBackend

            backends[spec.name] = OpenAIBackend(spec)
        elif spec.backend == "recorded":
            from experts.backends.recorded_backend import RecordedBackend

            backends[spec.name] = RecordedBackend(spec)
    return backends


def may_bill_failures(spec: ExpertSpec) -> bool:
    """Tell whether an attempt that failed may be billed: an API may, unless the catalogue says it does not.

    What our own engines compute in vain is on no bill.
    """
    return spec.backend == "openai" and spec.bills_failures != "no"


def is_api(spec: ExpertSpec) -> bool:
    """Tell whether an expert stands behind an API, whose words and bills are another's."""
    return spec.backend == "openai"
