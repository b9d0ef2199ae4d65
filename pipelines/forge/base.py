"""The model that is tuned: found, counted and loaded where its expert's catalogue entry says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experts import ExpertSpec
from experts.backends.bundled import resolve_model
from experts.backends.registry import kind_of
from experts.catalogue_file import Catalogue
from pipelines.forge.likelihood import ROW_TOKENS
from pipelines.forge.recipe import TrainRecipe
from warehouse import InputError


@dataclass(frozen=True)
class Size:
    """Parameters of a base, and of the adapter that a recipe puts on it."""

    base: int
    trainable: int
    per_token: int = 0  # bytes that training keeps of a token, in all layers


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
    trainable = sum(value.numel() for value in adapted.parameters() if value.requires_grad)
    return Size(base, trainable, _bytes_per_token(config, recipe))


def _bytes_per_token(config: Any, recipe: TrainRecipe) -> int:
    """Bytes that a forward pass keeps of a token for the backward pass.

    Fitted to what autograd saves in ten small models with Qwen2's layers. The adapter works in float32, so
    that bfloat16 keeps some of it twice.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    keys = width * getattr(config, "num_key_value_heads", heads) / heads
    of_width, of_inner, of_keys, of_rank = (
        (34, 11, 2.75, 36) if recipe.dtype == "bfloat16" else (20, 18, 5.5, 41)
    )
    layer = of_width * width + of_inner * config.intermediate_size + of_keys * keys + of_rank * recipe.rank
    return int(config.num_hidden_layers * layer)


def training_bytes(size: Size, recipe: TrainRecipe) -> int:
    """Memory of one device at the peak of a step, an estimate that no GPU has confirmed.

    The base's weights; the adapter's, its gradients, AdamW's two moments and the best weights so far, in
    float32; what is kept of one row of tokens. A tenth is added for what passes by, and 1 GiB for the
    device's own libraries.
    """
    weights = size.base * (2 if recipe.dtype == "bfloat16" else 4)
    kept = weights + size.trainable * 4 * 5 + size.per_token * ROW_TOKENS
    return round(1.1 * kept) + 1024**3


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
