"""What keeps a specialist from being made is said before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from experts import ExpertSpec
from pipelines.forge.base import Size, count_parameters, load_base, training_bytes
from pipelines.forge.examples import Example
from pipelines.forge.licences import check_licence
from pipelines.forge.likelihood import answer_logprobs
from pipelines.forge.readiness import check_base, check_disk, check_memory, check_size
from pipelines.forge.recipe import TrainRecipe, read_recipe
from pipelines.forge.train import adapt
from tests.forge.conftest import spec_of, write_tiny_model
from warehouse import CannotRunError, InputError


def test_a_base_that_fits_is_let_through(tiny_model: Path, tmp_path: Path) -> None:
    licence, size = check_base(spec_of(tiny_model), TrainRecipe(rank=4), tmp_path / "not" / "there")
    assert licence.name == "apache-2.0"
    assert 0 < size.trainable < size.base
    assert not (tmp_path / "not").exists()


def test_an_api_has_no_weights_here(tmp_path: Path) -> None:
    api = spec_of("gpt-4o", backend="openai", scoring="generate", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(InputError, match="no weights here"):
        check_base(api, TrainRecipe(), tmp_path)


def test_an_adapter_is_no_base(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an adapter itself"):
        check_base(spec_of(tiny_model, lora=str(tmp_path)), TrainRecipe(), tmp_path)


@pytest.mark.parametrize("licence", ["cc-by-nd-4.0", "CC-BY-NC-ND-4.0", "Proprietary", "all rights reserved"])
def test_a_licence_that_forbids_it_is_named(tmp_path: Path, licence: str) -> None:
    model = write_tiny_model(tmp_path / "model", licence)
    with pytest.raises(InputError, match="forbids it") as caught:
        check_base(spec_of(model), TrainRecipe(), tmp_path)
    assert licence in str(caught.value)


def test_a_licence_that_nobody_states_has_to_be_given(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    (model / "README.md").unlink()
    with pytest.raises(InputError, match="--licence"):
        check_licence(spec_of(model))
    assert check_licence(spec_of(model), "mit").name == "mit"
    assert "commercial" in check_licence(spec_of(model), "cc-by-nc-4.0").note
    assert "Gemma" in check_licence(spec_of("bundled:gemma-3-270m")).note


def test_layers_that_are_not_there_are_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="no layers called c_attn"):
        count_parameters(spec_of(tiny_model), TrainRecipe(targets=("c_attn",)))


def test_a_large_base_needs_a_gpu() -> None:
    with pytest.raises(CannotRunError, match=r"7\.2 billion parameters, and no GPU"):
        check_size(Size(7_240_000_000, 40_000_000), spec_of("x"), has_gpu=False)
    check_size(Size(7_240_000_000, 40_000_000), spec_of("x"), has_gpu=True)


def shape_of_7b(folder: Path) -> ExpertSpec:
    """The configuration of Qwen2.5-7B, without weights."""
    from transformers import Qwen2Config

    Qwen2Config(
        vocab_size=152_064, hidden_size=3_584, intermediate_size=18_944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
    ).save_pretrained(folder)  # fmt: skip
    return spec_of(folder)


def test_the_recipe_for_seven_billion_fits_gpus_of_40_gb_and_no_cpu(tmp_path: Path) -> None:
    fields, workers = read_recipe(Path("examples/forge/lora-7b.yaml"))
    recipe, spec = TrainRecipe(**fields), shape_of_7b(tmp_path)
    size = count_parameters(spec, recipe)
    assert workers == 1
    assert size.base == pytest.approx(7.6e9, rel=0.01)
    assert size.trainable == pytest.approx(40.4e6, rel=0.01)
    assert 25 < training_bytes(size, recipe) / 1024**3 < 32
    with pytest.raises(CannotRunError, match="no GPU is here") as caught:
        check_size(size, spec, has_gpu=False)
    assert "node with a GPU" in str(caught.value)
    check_memory(size, recipe, spec, gpu_gib=40)
    with pytest.raises(CannotRunError, match="a GPU here has 24 GiB"):
        check_memory(size, recipe, spec, gpu_gib=24)
    with pytest.raises(CannotRunError, match="bfloat16"):
        check_memory(size, replace(recipe, dtype="float32"), spec, gpu_gib=24)
    with pytest.raises(CannotRunError, match="GiB are free"):
        check_disk(size, tmp_path, free_bytes=1024**3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_step_keeps_of_a_token_is_as_estimated(
    tmp_path: Path, dtype: Literal["float32", "bfloat16"]
) -> None:
    import torch

    recipe = TrainRecipe(rank=8, dtype=dtype)
    spec = spec_of(write_tiny_model(tmp_path / "model", family="Qwen2"))
    model = adapt(load_base(spec, recipe)[0], recipe).train()
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = 400
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = answer_logprobs(model, [Example((3,) * (tokens - 1) + (5,), (7,))]).sum()
    assert loss.requires_grad
    mask = tokens**2 * (4 if dtype == "float32" else 2)  # kept once; a few MiB also for 7 billion
    estimate = count_parameters(spec, recipe).per_token * tokens + mask
    assert sum(kept.values()) == pytest.approx(estimate, rel=0.25)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: many", "steps"), ("dtype: float16", "float16"), ("learning_rat: 1", "learning_rat"),
        ("- steps", "not a table"), ("steps: [", "cannot be read"), ("rank: 1.5", "rank"),
        ("rank: true", "rank"), ("targets: q_proj", "targets"), ("steps: 0", "above 0"),
    ],
)  # fmt: skip
def test_a_recipe_file_of_another_kind_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        TrainRecipe(**read_recipe(file)[0])
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "nowhere.yaml")


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="GiB are free"):
        check_disk(Size(1, 100_000_000), tmp_path, free_bytes=10**9)
    check_disk(Size(1, 100_000_000), tmp_path, free_bytes=10**10)
