"""How an adapter is trained: the numbers that decide it, checked when given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from warehouse import InputError

#: The linear layers of the Llama family, which SmolLM2, Gemma, Mistral and Qwen share the names of.
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class TrainRecipe:
    """A LoRA adapter (Hu et al. 2021) on all linear layers, AdamW, a warm-up and a cosine to zero.

    Nothing in it depends on time, so that a run that was killed ends as it would have. ``minutes`` is a cap:
    a run that reaches it stops, and says so.
    """

    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 2e-3
    rank: int = 32
    alpha: float = 32.0
    targets: tuple[str, ...] = ATTENTION + MLP
    warmup_steps: int = 20
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the base; the adapter is always float32
    threads: int = 0  # 0: as many as torch takes
    evaluate_every: int = 50
    checkpoint_every: int = 25
    patience: int = 6  # evaluations without a lower validation loss before it stops
    minutes: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "rank", "evaluate_every", "checkpoint_every", "patience")
        for name in (*counts, "learning_rate", "alpha", "clip_norm", "minutes"):
            if not getattr(self, name) > 0:
                raise InputError(f"must be above 0, not {getattr(self, name)}", where=f"recipe, {name}")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(
                f"no format {self.dtype!r}", where="recipe, dtype", fix="use float32 or bfloat16"
            )
        if not self.targets:
            raise InputError("no layers are adapted", where="recipe, targets", fix="name some, as q_proj")

    def to_params(self) -> dict[str, Any]:
        """The recipe as JSON holds it."""
        return asdict(self) | {"targets": list(self.targets)}


def read_recipe(path: Path) -> tuple[dict[str, Any], int]:
    """Read a YAML file of fields of :class:`TrainRecipe`, and ``workers``; what it lacks is not returned.

    Raises:
        InputError: it cannot be read, holds another field, or a value of another kind.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix="give a YAML file") from None
    if not isinstance(found, dict):
        raise InputError(
            "not a table of a recipe's fields", where=str(path), fix="write lines as `steps: 400`"
        )
    defaults = {field.name: field.default for field in fields(TrainRecipe)} | {"workers": 0}
    for name, value in found.items():
        if name not in defaults:
            raise InputError(
                f"a recipe has no field {name!r}", where=str(path), fix=f"use {', '.join(sorted(defaults))}"
            )
        if not _is_of_kind(value, defaults[name]):
            raise InputError(f"not as {defaults[name]!r} is: {value!r}", where=f"{path}, {name}")
    workers = int(found.pop("workers", 0))
    if "targets" in found:
        found["targets"] = tuple(found["targets"])
    return found, workers


def _is_of_kind(value: object, like: object) -> bool:
    if isinstance(like, tuple):
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if isinstance(like, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(like)
