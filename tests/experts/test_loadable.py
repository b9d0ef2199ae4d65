from __future__ import annotations

import json
from pathlib import Path

import pytest

from experts import ExpertSpec, Price, check_loadable
from warehouse import CannotRunError, InputError


def spec(model: str, **fields: object) -> ExpertSpec:
    price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    return ExpertSpec(name="e", backend="vllm", model=model, price=price, **fields)


def write_model(folder: Path, config: object = None, weights: str | None = "model.safetensors") -> Path:
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights:
        (folder / weights).write_bytes(b"")
    return folder


def test_a_whole_folder_passes(tmp_path: Path) -> None:
    check_loadable(spec(str(write_model(tmp_path / "m", {"architectures": ["Llama"]}))), where="c.yaml")


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (None, "model.safetensors", "no readable config.json"),
        ("{", "model.safetensors", "no readable config.json"),
        ({"model_type": "llama"}, "model.safetensors", "names no architecture"),
        ({"architectures": ["Llama"]}, None, "holds no weights"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, config: object, weights: str | None, message: str) -> None:
    folder = write_model(tmp_path / "m", config, weights)
    with pytest.raises(InputError, match=message) as caught:
        check_loadable(spec(str(folder)), where="c.yaml, expert 'e'")
    assert "c.yaml, expert 'e', field model" in str(caught.value)


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="/no/such/model is not there"):
        check_loadable(spec("/no/such/model"), where="c.yaml")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CannotRunError, match=r"'no-such/model' cannot be loaded from the hub"):
        check_loadable(spec("no-such/model"), where="c.yaml")


def write_adapter(folder: Path, config: str = '{"r": 8}', weights: str = "adapter_model.safetensors") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(config)
    (folder / weights).write_bytes(b"")
    return folder


def test_an_adapter_is_looked_for_like_its_model(tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "m", {"architectures": ["Llama"]}))
    check_loadable(spec(model, lora=str(write_adapter(tmp_path / "whole"))), where="c.yaml")
    for folder, message in (
        (tmp_path / "nowhere", "nowhere is not there"),
        (write_adapter(tmp_path / "broken", config="{"), "no readable adapter_config.json"),
        (write_adapter(tmp_path / "empty", weights="model.safetensors"), "no adapter's weights"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            check_loadable(spec(model, lora=str(folder)), where="c.yaml, expert 'e'")
        assert "c.yaml, expert 'e', field lora" in str(caught.value)


def test_a_made_up_adapter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CannotRunError, match="'adapters/made-up' is no folder here"):
        check_loadable(
            spec("bundled:smollm2-135m-instruct", lora="adapters/made-up"), where="c.yaml", convert=False
        )


def test_other_backends_have_nothing_to_load() -> None:
    price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    check_loadable(ExpertSpec(name="e", backend="openai", model="gpt", price=price), where="c.yaml")
