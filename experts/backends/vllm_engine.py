"""The engine that vLLM experts answer with: its environment, its options, and how experts share one."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experts.backends.bundled import default_cache_dir, resolve_model
from experts.backends.engine_loop import EngineLoop
from experts.backends.hardware import probe_hardware
from experts.backends.on_cpu.neighbours import look_past_what_raises
from experts.backends.on_cpu.plugin import prepare_engine
from experts.backends.on_cpu.preloading import preload_env
from experts.catalogue.bundled_models import BUNDLED_PREFIX
from experts.catalogue.spec import ExpertSpec
from warehouse import CannotRunError, InputError

#: The ranks of adapters that vLLM can be set to.
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def backend_env(spec: ExpertSpec) -> dict[str, str]:
    """Return the environment variables that vLLM must find when it is first imported.

    On the CPU: one process (it starts in seconds instead of a minute), 1 GiB of KV cache, threads not
    bound to cores (beside Ray, binding piles the engines onto the same ones) and asleep while they wait for
    each other (spinning, they take the cores from whatever else runs; on a machine that does nothing else
    ``KMP_BLOCKTIME=200us`` is faster with Intel's OpenMP). On a GPU vLLM's own defaults stand.
    A variable that is set already keeps its value; LD_PRELOAD gets the libraries of
    :mod:`experts.backends.on_cpu.preloading` beside what it holds. They count where a process starts with
    this: Ray actors get it as ``runtime_env``'s ``env_vars``.
    """
    defaults = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if spec.model.startswith(BUNDLED_PREFIX) or Path(spec.model).is_dir():
        defaults["HF_HUB_OFFLINE"] = "1"
    if spec.resources.num_gpus == 0:
        declared = int(spec.resources.num_cpus)
        defaults |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_WAIT_POLICY": "passive",
            "KMP_BLOCKTIME": "0",
            "OMP_NUM_THREADS": str(declared if declared > 1 else probe_hardware().cpu_count),
        }
    preloads = preload_env() if spec.resources.num_gpus == 0 else {}
    return preloads | {name: os.environ.get(name, value) for name, value in defaults.items()}


def prepare_process(spec: ExpertSpec) -> None:
    """Set this process's environment for vLLM, before vLLM is first imported.

    What PyTorch compiles to look at the processor goes into the cache of this machine, not into its
    temporary folder; where that is belongs to the machine that the engine runs on, not to the driver's.
    """
    os.environ.update(backend_env(spec))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(default_cache_dir() / "torch"))


def engine_options(spec: ExpertSpec, *, cache_dir: str | Path | None = None) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's engine for an expert; the catalogue's ``engine`` overrides."""
    gpus = spec.resources.num_gpus
    options: dict[str, Any] = {
        "model": str(resolve_model(spec, cache_dir)),
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": True,
        "seed": 0,
    }
    if spec.revision:
        options["revision"] = spec.revision
    if spec.context_tokens:
        options["max_model_len"] = spec.context_tokens
    if spec.lora:
        options["enable_lora"] = True
    if gpus == 0:
        options["dtype"] = probe_hardware().cpu_dtype
        options["block_size"] = 32  # the default of 128 leaves most shared prefixes too short to be cached
    elif gpus > 1:
        options["tensor_parallel_size"] = int(gpus)
    elif gpus < 1:
        options["gpu_memory_utilization"] = round(0.9 * gpus, 3)
    return options | spec.engine


def shared_engine_key(spec: ExpertSpec) -> str:
    """Return what experts must have in common to live on one engine: all but adapter and way of asking."""
    engine = {name: value for name, value in spec.engine.items() if "lora" not in name}
    content = [spec.backend, spec.model, spec.revision, spec.context_tokens, spec.trust_remote_code, engine]
    return json.dumps([*content, spec.resources.model_dump()], sort_keys=True, default=str)


def shared_engine_options(
    specs: Sequence[ExpertSpec], *, cache_dir: str | Path | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of the engine that several experts share; see :func:`engine_options`."""
    options = engine_options(specs[0], cache_dir=cache_dir)
    if adapters := {spec.lora for spec in specs if spec.lora}:
        # Adapters of different experts stand in one batch; those beyond max_loras would take turns.
        ranks = [int(spec.engine["max_lora_rank"]) for spec in specs if "max_lora_rank" in spec.engine]
        ranks += map(_lora_rank, adapters)
        # On a CPU, vLLM gives a request without an adapter the one in the last place: one place stays empty.
        places = len(adapters) + (specs[0].resources.num_gpus == 0)
        options |= {"enable_lora": True, "max_loras": places, "max_lora_rank": max(ranks)}
        # vLLM prepares every layer for adapters, also the output layer, for one row a request. Options are
        # ranked by the prompt's log-probabilities, a row a token: on a CPU it fails there.
        if targets := _lora_targets(adapters):
            options["lora_target_modules"] = targets
    return options


def _lora_targets(adapters: Iterable[str]) -> list[str] | None:
    """The layers that adapters change; None where one does not name them one by one."""
    found: set[str] = set()
    for adapter in adapters:
        try:
            config = json.loads(
                (Path(adapter).expanduser() / "adapter_config.json").read_text(encoding="utf-8")
            )
        except (OSError, ValueError):
            return None
        targets = config.get("target_modules")
        if not isinstance(targets, list):
            return None
        found |= set(targets)
    return sorted(found)


def _lora_rank(adapter: str) -> int:
    """The smallest rank on offer that a local adapter fits in; vLLM's default where it is not local."""
    settings = Path(adapter).expanduser() / "adapter_config.json"
    if not settings.is_file():
        return 16
    rank = int(json.loads(settings.read_text(encoding="utf-8")).get("r", 16))
    return next((offered for offered in _LORA_RANKS if offered >= rank), rank)


class SharedEngine:
    """A model that vLLM holds in this process, for one expert or for several (adapters, ways of asking).

    Args:
        specs: the experts; they have the same :func:`shared_engine_key`.
        cache_dir: where bundled models are kept.

    Raises:
        InputError: vLLM is not installed, or the experts cannot share an engine.
    """

    def __init__(self, specs: Sequence[ExpertSpec], *, cache_dir: str | Path | None = None) -> None:
        if len({shared_engine_key(spec) for spec in specs}) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise InputError(
                f"{names} cannot share an engine", fix="give them one model, engine and resources"
            )
        prepare_process(specs[0])
        try:
            from vllm import LLM
        except ImportError as error:
            raise CannotRunError(
                f"vLLM cannot be imported: {error}", fix="install the extra cpu or gpu"
            ) from error
        if specs[0].resources.num_gpus == 0:
            look_past_what_raises()
            prepare_engine()  # also where the project is not installed, and vLLM does not find it
        llm = LLM(**shared_engine_options(specs, cache_dir=cache_dir), disable_log_stats=True)
        self.tokenizer: Any = llm.get_tokenizer()
        self.context_tokens = int(llm.llm_engine.model_config.max_model_len)
        self.adapters = sorted({spec.lora for spec in specs if spec.lora})
        self.encoding = threading.Lock()  # one tokenizer, and it is not safe to use from two threads
        self.clock = EngineClock()
        self.loop = EngineLoop(llm.llm_engine)


class EngineClock:
    """Shares the engine's time out among batches that run side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.perf_counter()

    def share_since(self, start: float) -> float:
        """Seconds since ``start``, less what was counted for batches that ended since."""
        with self._lock:
            now = time.perf_counter()
            share_s, self._last = now - max(start, self._last), now
            return share_s
