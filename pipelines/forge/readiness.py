"""What keeps a specialist from being made here: found out before any work, with the way out."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from experts import ExpertSpec, probe_hardware
from experts.backends.registry import check_loadable, kind_of
from pipelines.forge.base import Size, count_parameters, training_bytes
from pipelines.forge.checkpoints import checkpoint_bytes
from pipelines.forge.licences import Licence, check_licence
from pipelines.forge.recipe import TrainRecipe
from warehouse import CannotRunError, InputError

LARGEST_ON_CPU = 1e9  # parameters: above that, a step on a CPU takes minutes
_GIB = 1024**3


def check_base(
    spec: ExpertSpec,
    recipe: TrainRecipe,
    folder: Path,
    *,
    licence: str | None = None,
    cluster_gpus: float = 0,
) -> tuple[Licence, Size]:
    """See that an expert's model can be tuned here; return its licence and the sizes.

    Args:
        spec: the expert.
        recipe: of the adapter.
        folder: where checkpoints will be written; it need not exist.
        licence: of the model, where its card does not state it.
        cluster_gpus: GPUs of the cluster whose workers train it; 0 where this process does.

    Raises:
        InputError: it has no weights of its own, is an adapter, or its licence forbids it.
        CannotRunError: packages, disk space, memory or a GPU are missing.
    """
    kind, where = kind_of(spec), f"expert {spec.name!r}"
    if not kind.has_engine:
        raise InputError(
            f"{spec.name!r} has no weights here: it is asked through an API or replayed",
            where=where,
            fix="name a base with `backend: vllm` (--base)",
        )
    if spec.lora:
        raise InputError(f"{spec.name!r} is an adapter itself", where=where, fix="name the model it sits on")
    allowed = check_licence(spec, licence)
    for package in ("torch", "transformers", "peft"):
        if find_spec(package) is None:
            raise CannotRunError(
                f"the package {package} is not installed",
                where="leeroo forge",
                fix="pip install 'leeroo-orchestrator[cpu,forge]' (or [gpu,forge])",
            )
    check_loadable(spec, where=where)
    size = count_parameters(spec, recipe)
    gpus = probe_hardware().gpus
    check_size(size, spec, bool(cluster_gpus or gpus))
    if gpus:  # a cluster's other nodes are taken to have the same
        check_memory(size, recipe, spec, min(gpu.memory_gib for gpu in gpus))
    check_disk(size, folder)
    return allowed, size


def check_size(size: Size, spec: ExpertSpec, has_gpu: bool) -> None:
    """See that a base of this size can be trained with what is here.

    Raises:
        CannotRunError: it needs a GPU.
    """
    if size.base > LARGEST_ON_CPU and not has_gpu:
        raise CannotRunError(
            f"{spec.name!r} has {size.base / 1e9:.1f} billion parameters, and no GPU is here",
            where="--base",
            fix=f"take a base of at most {LARGEST_ON_CPU / 1e9:.0f} billion, or run it on a node with a GPU",
        )


def check_memory(size: Size, recipe: TrainRecipe, spec: ExpertSpec, gpu_gib: float) -> None:
    """See that one GPU holds a step of the training, by the estimate of :func:`training_bytes`.

    Raises:
        CannotRunError: it does not.
    """
    needed = training_bytes(size, recipe) / _GIB
    if needed > gpu_gib:
        half = " take `--dtype bfloat16`," if recipe.dtype == "float32" else ""
        raise CannotRunError(
            f"a step of {spec.name!r} takes about {needed:.0f} GiB, and a GPU here has {gpu_gib:.0f} GiB",
            where="--base",
            fix=f"{half} take a smaller base, or a node with larger GPUs: each holds the whole base".strip(),
        )


def check_disk(size: Size, folder: Path, free_bytes: int | None = None) -> None:
    """See that the disk holds the checkpoints and the adapter.

    Raises:
        CannotRunError: it does not.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes
    needed = checkpoint_bytes(size.trainable)
    if free < needed:
        raise CannotRunError(
            f"checkpoints take up to {needed / _GIB:.2f} GiB, and {free / _GIB:.2f} GiB are free",
            where=str(there),
            fix="free some space, put the home elsewhere (--home), or take a lower rank (--rank)",
        )
