"""A LoRA adapter makes another expert of the same base model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experts import build_backend, load_catalogue


def write_adapter(folder: Path) -> None:
    """A random adapter of rank 8 on the query projections of SmolLM2-135M."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {}
    generator = torch.Generator().manual_seed(0)
    for layer in range(30):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, 576, generator=generator) * 0.1
        weights[f"{name}.lora_B.weight"] = torch.randn(576, 8, generator=generator) * 0.1
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


@pytest.mark.e2e
def test_an_adapter_changes_the_answers(tmp_path: Path, questions_of) -> None:
    write_adapter(tmp_path / "adapter")
    base = load_catalogue().get("smollm2-135m")
    changes = {"name": "adapted", "lora": str(tmp_path / "adapter"), "context_tokens": 256}
    adapted = base.model_copy(update=changes | {"engine": base.engine | {"max_lora_rank": 8}})
    assert adapted.version != base.version
    backend = build_backend(adapted)
    choices = ["Paris", "Rome", "Oslo"]
    questions = questions_of(
        [{"prompt": "What is the capital of France?", "choices": choices, "answer": "0"}]
    )
    with_adapter = backend.answer(questions)
    assert with_adapter["error"].to_pylist() == [None]
    backend._lora = None  # the same engine without its adapter
    without = backend.answer(questions)
    assert without["choice"].to_pylist() == [0]
    both = [np.array(table["choice_logprobs"][0].as_py()) for table in (with_adapter, without)]
    assert np.max(np.abs(both[0] - both[1])) > 0.5
