"""Adapters for the smaller bundled model."""

from __future__ import annotations

import json
from pathlib import Path


def write_adapter(folder: Path, seed: int = 0, rank: int = 8) -> None:
    """A random adapter on the query projections of SmolLM2-135M."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {}
    generator = torch.Generator().manual_seed(seed)
    for layer in range(30):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(rank, 576, generator=generator) * 0.1
        weights[f"{name}.lora_B.weight"] = torch.randn(576, rank, generator=generator) * 0.1
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
