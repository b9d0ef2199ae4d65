"""The model that is tuned: found, counted and loaded where its expert's catalogue entry says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experts import ExpertSpec
from experts.backends.bundled import resolve_model
from experts.backends.registry import kind_of
from experts.catalogue_file import Catalogue
from pipelines.forge.recipe import TrainRecipe
from warehouse import InputError


@dataclass(frozen=True)
class Size:
    """Parameters of a base, and of the adapter that a recipe puts on it."""

    base: int
    trainable: int


def cheapest_base(known: Catalogue) -> str:
    """Name of the cheapest expert of a catalogue whose model can be tuned.

    Raises:
        InputError: none of them has weights here.
    """
    fit = [spec for spec in known.experts if kind_of(spec).has_engine and not spec.lora]
    if not fit:
        raise InputError(
            "no expert of this catalogue has weights here",
            where=str(known.path),
            fix="add one with `backend: vllm`",
        )
    return min(fit, key=lambda spec: (spec.price.cost_usd(1_000, 10), spec.name)).name


def count_parameters(spec: ExpertSpec, recipe: TrainRecipe) -> Size:
    """Count a model's parameters and its adapter's from its configuration; no weights are read.

    Raises:
        InputError: the model has no layers that the recipe names.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from pipelines.forge.train import adapt

    config = AutoConfig.from_pretrained(str(resolve_model(spec)), revision=spec.revision)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        base = sum(value.numel() for value in model.parameters())
        adapted = adapt(model, recipe)
    return Size(base, sum(value.numel() for value in adapted.parameters() if value.requires_grad))


def load_base(spec: ExpertSpec, recipe: TrainRecipe) -> tuple[Any, Any]:
    """Return the model, in the recipe's format and on the GPU if there is one, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if spec.lora:
        raise InputError(
            f"{spec.name!r} is an adapter itself", where="--base", fix="tune the model that it sits on"
        )
    path = str(resolve_model(spec))
    tokenizer = AutoTokenizer.from_pretrained(path, revision=spec.revision)
    model = AutoModelForCausalLM.from_pretrained(
        path, revision=spec.revision, dtype=getattr(torch, recipe.dtype), attn_implementation="sdpa"
    )
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
