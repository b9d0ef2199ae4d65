"""The hidden states of a language model as an embedding, with a tiny random model that is built here."""

import json
import shutil
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Orchestrator, load_embedder, train_router
from orchestrator.text.lm import CUE, MAX_TOKENS
from orchestrator.text.registry import describe_embedders, is_static
from tests.orchestrator.synthetic import make_outcomes
from warehouse import CannotRunError, InputError

LAYERS, WIDTH = 5, 16
TOKENS = "?" + ascii_lowercase + " "
TEXTS = st.lists(st.text(ascii_lowercase + " ", max_size=2 * MAX_TOKENS), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a random model whose tokens are single characters."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": LAYERS, "vocab_size": 32}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).save_pretrained(folder)
    characters = {character: i for i, character in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(characters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def embedder(model):
    return load_embedder(f"lm:{model}")


@pytest.fixture(scope="module")
def whole_model(model):
    """The same model with all of its layers."""
    import torch
    from transformers import AutoModel

    return AutoModel.from_pretrained(model, dtype=torch.float32)


@settings(max_examples=10, deadline=None)
@given(texts=TEXTS)
def test_the_state_before_an_answer_whatever_comes_with_the_text(whole_model, embedder, texts):
    import torch

    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.dim)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(vector, embedder.embed([text])[0])
        assert np.array_equal(vector, embedder.embed(["front" * MAX_TOKENS + text.rjust(MAX_TOKENS)])[0]) == (
            len(text) >= MAX_TOKENS
        )
        if not text:
            assert not vector.any()
            continue
        ids = [TOKENS.find(character) for character in text[-MAX_TOKENS:]]
        ids += [max(TOKENS.find(character), 0) for character in CUE]
        with torch.inference_mode():
            states = whole_model(torch.tensor([ids]), output_hidden_states=True).hidden_states[3][0]
        np.testing.assert_allclose(vector, states[-1] / states[-1].norm(), atol=1e-5)


def test_the_threads_of_torch_stay_as_they_were(embedder, monkeypatch):
    import torch

    threads = [3]  # an engine that ran in this process may have put functions of its own there
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    embedder.embed(["one"])
    assert threads == [3, 1, 3]


def test_a_router_that_reads_a_language_model_is_trained_saved_and_loaded(model, tmp_path):
    outcomes = make_outcomes(200)
    name = f"lm:{model}+wordllama"
    assert not is_static(name)
    assert "lm:" in describe_embedders()
    cache = tmp_path / "cache"
    trained = train_router(outcomes, embedder=name, predictor="knn", cache_dir=cache).orchestrator
    trained.save(tmp_path / "router")
    loaded = Orchestrator.load(tmp_path / "router")
    assert loaded.embedder.widths[0] == WIDTH
    assert loaded.decide(outcomes.texts[:3]) == trained.decide(outcomes.texts[:3])
    kept = load_embedder(name, cache_dir=cache).embed(outcomes.texts)
    assert np.array_equal(kept, load_embedder(name).embed(outcomes.texts))


def test_other_weights_are_told_apart_and_another_place_is_not(model, embedder, tmp_path):
    moved = shutil.copytree(model, tmp_path / "elsewhere" / model.name)
    assert load_embedder(f"lm:{moved}").weights == embedder.weights
    (moved / "model.safetensors").write_bytes((moved / "model.safetensors").read_bytes()[:-1] + b"\0")
    assert load_embedder(f"lm:{moved}").weights != embedder.weights


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_before_a_text_is_read(model, file, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / file).unlink()
    with pytest.raises(CannotRunError, match="file is missing") as refused:
        load_embedder(f"wordllama+lm:{broken}")
    assert file in str(refused.value)


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"hidden_size": "wide", "num_hidden_layers": 2}'])
def test_a_folder_that_holds_no_model_of_text_is_refused(model, config, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "config.json").write_text(config)
    with pytest.raises(CannotRunError, match="no model of text"):
        load_embedder(f"lm:{broken}")


@pytest.mark.parametrize("name", ["lm:", "lm:no-such", "lm:bundled:gemma-3-270m", "lm:someone/some-model"])
def test_a_model_that_is_not_here_is_not_asked_of_a_hub(name):
    with pytest.raises(InputError, match="no language model is called") as refused:
        load_embedder(name)
    assert "smollm2-135m-instruct" in str(refused.value)


def test_code_beside_the_weights_is_not_run(model, tmp_path):
    hostile = shutil.copytree(model, tmp_path / "hostile")
    config = json.loads((hostile / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.OwnConfig"}
    (hostile / "config.json").write_text(json.dumps(config))
    (hostile / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert load_embedder(f"lm:{hostile}").embed(["text"]).any()
    assert not (tmp_path / "ran").exists()
