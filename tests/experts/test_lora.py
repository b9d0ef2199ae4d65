"""A LoRA adapter makes another expert of the same base model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from experts import Resources, build_backends, load_catalogue, shared_engine_key, shared_engine_options
from tests.adapter_files import write_adapter
from warehouse import InputError


@pytest.mark.e2e
def test_adapters_share_the_engine_of_their_base(tmp_path: Path, questions_of) -> None:
    """Three experts, one engine, all in one batch; each answers as it would alone."""
    write_adapter(tmp_path / "one", seed=1)
    write_adapter(tmp_path / "two", seed=2, rank=16)
    base = load_catalogue().get("smollm2-135m").model_copy(update={"context_tokens": 256})
    one = base.model_copy(update={"name": "one", "lora": str(tmp_path / "one")})
    two = base.model_copy(update={"name": "two", "lora": str(tmp_path / "two")})
    assert len({shared_engine_key(spec) for spec in (base, one, two)}) == 1
    assert len({spec.version for spec in (base, one, two)}) == 3
    backends = build_backends([base, one, two])
    towns = ["Paris", "Rome", "Oslo", "Lima"]
    questions = questions_of(
        [
            {"prompt": f"What is the capital of {country}?", "choices": towns, "answer": "0"}
            for country in ("France", "Italy", "Norway", "Peru", "Spain", "Chile")
        ]
    )

    def logprobs(table: pa.Table) -> np.ndarray:
        assert table["error"].null_count == questions.num_rows
        return np.array(table["choice_logprobs"].to_pylist())

    alone = {name: logprobs(backend.answer(questions)) for name, backend in backends.items()}
    with ThreadPoolExecutor(6) as pool:  # each expert twice, halves of the questions side by side
        halves = [questions.slice(0, 3), questions.slice(3)]
        jobs = {
            name: [pool.submit(backend.answer, half) for half in halves] for name, backend in backends.items()
        }
        mixed = {
            name: np.concatenate([np.array(f.result()["choice_logprobs"].to_pylist()) for f in futures])
            for name, futures in jobs.items()
        }
    for name, expected in alone.items():
        np.testing.assert_allclose(mixed[name], expected, atol=0.02)
    # It knows these capitals but one.
    assert np.sum(alone[base.name].argmax(axis=1)[:4] == np.arange(4)) >= 3
    for first, second in ((base.name, "one"), (base.name, "two"), ("one", "two")):
        assert np.max(np.abs(alone[first] - alone[second])) > 0.5
    # The engine that has been there all along also answers without an adapter.
    backends["one"]._lora = None  # type: ignore[attr-defined]
    np.testing.assert_allclose(logprobs(backends["one"].answer(questions)), alone[base.name], atol=0.02)


def test_different_models_do_not_share(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot share an engine"):
        build_backends(load_catalogue().experts)


def test_the_engine_is_set_for_all_its_adapters(tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 24}))
    base = load_catalogue().get("smollm2-135m")
    adapted = base.model_copy(update={"lora": str(folder)})
    hub = base.model_copy(update={"lora": "org/adapter"})
    options = shared_engine_options([base, adapted, hub])
    assert (options["enable_lora"], options["max_loras"], options["max_lora_rank"]) == (True, 3, 32)
    assert "enable_lora" not in shared_engine_options([base])
    gpu = adapted.model_copy(update={"resources": Resources(num_gpus=1)})
    assert shared_engine_options([gpu])["max_loras"] == 1


def test_only_the_layers_that_adapters_change_are_prepared(tmp_path: Path) -> None:
    base = load_catalogue().get("smollm2-135m")
    specs = [base]
    for name, targets in {"one": ["q_proj", "up_proj"], "two": ["v_proj", "q_proj"]}.items():
        (tmp_path / name).mkdir()
        settings = {"r": 8, "target_modules": targets}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(settings))
        specs.append(base.model_copy(update={"name": name, "lora": str(tmp_path / name)}))
    assert shared_engine_options(specs)["lora_target_modules"] == ["q_proj", "up_proj", "v_proj"]
    unknown = base.model_copy(update={"name": "hub", "lora": "org/adapter"})
    assert "lora_target_modules" not in shared_engine_options([*specs, unknown])
