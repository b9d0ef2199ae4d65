"""What keeps a specialist from being made is said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.forge.base import Size, count_parameters
from pipelines.forge.licences import check_licence
from pipelines.forge.readiness import check_base, check_disk, check_size
from pipelines.forge.recipe import TrainRecipe
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


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="GiB are free"):
        check_disk(Size(1, 100_000_000), tmp_path, free_bytes=10**9)
    check_disk(Size(1, 100_000_000), tmp_path, free_bytes=10**10)
