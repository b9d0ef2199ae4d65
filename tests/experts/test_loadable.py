from __future__ import annotations

import json
from pathlib import Path

import pytest

from experts import ExpertSpec, Price, check_loadable
from warehouse import InputError


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
    with pytest.raises(InputError, match=r"'no-such/model' cannot be loaded from the hub"):
        check_loadable(spec("no-such/model"), where="c.yaml")


def test_other_backends_have_nothing_to_load() -> None:
    price = Price(usd_per_mtok_in=1, usd_per_mtok_out=1)
    check_loadable(ExpertSpec(name="e", backend="openai", model="gpt", price=price), where="c.yaml")
