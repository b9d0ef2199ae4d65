"""A tiny model of a family that is tuned, with random weights and a tokenizer of single characters."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from experts import ExpertSpec


def write_tiny_model(folder: Path, licence: str = "apache-2.0", family: str = "Llama") -> Path:
    """A model of 30,000 parameters, as `save_pretrained` writes it."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [*string.printable]
    vocabulary = {"<end>": 0, "<unk>": 1} | {char: i + 2 for i, char in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, eos_token_id=0,
        bos_token_id=0, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(
        folder
    )
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\nA tiny model.\n")
    return folder


def spec_of(model: Path | str, **fields: object) -> ExpertSpec:
    entry = {"name": "tiny", "backend": "vllm", "model": str(model), "scoring": "cloze", "params_b": 0.00003}
    return ExpertSpec(**(entry | {"price": {"usd_per_mtok_in": 0.01, "usd_per_mtok_out": 0.01}} | fields))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
