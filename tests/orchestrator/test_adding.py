"""One new file and one row add a predictor or an embedder: the examples of CONTRIBUTING.md, as they stand."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import make_outcomes

from orchestrator import Orchestrator, evaluate_router, load_embedder, train_router
from orchestrator.predictors import registry as predictors
from orchestrator.text import registry as embedders
from warehouse import InputError

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEXTS = ["Question: ring ideal field kernel?", "Question: king war treaty, at some length and more of it?"]


def read_example(file: str) -> tuple[str, str]:
    """The code and the row that the guide gives for a new file."""
    code, row = re.findall(r"```python\n(.*?)```", GUIDE[GUIDE.index(f"`{file}`:") :], re.DOTALL)[:2]
    return code, row


@pytest.fixture
def add(tmp_path, monkeypatch):
    def add(file: str, registry, table: str) -> None:
        code, row = read_example(file)
        path, name = tmp_path / Path(file).name, file.removesuffix(".py").replace("/", ".")
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        entry = eval(f"{{{row.strip()}}}", vars(registry) | vars(module))
        for key, value in entry.items():
            monkeypatch.setitem(getattr(registry, table), key, value)

    return add


def test_a_predictor_is_one_file_and_one_row(add, tmp_path):
    with pytest.raises(InputError, match="no predictor is called 'length'"):
        predictors.build_predictor("length")
    add("orchestrator/predictors/length.py", predictors, "KINDS")
    assert "length" in predictors.describe_predictors()
    outcomes = make_outcomes(300, missing=0.1)
    trained = train_router(outcomes, embedder="wordllama", predictor="length").orchestrator
    trained.save(tmp_path / "router")
    loaded = Orchestrator.load(tmp_path / "router")
    assert loaded.decide(TEXTS) == trained.decide(TEXTS)
    report = evaluate_router(outcomes, predictors=["length"], embedder="wordllama", seeds=1, replicates=20)
    assert 0 < report.row("length").measures["accuracy"].value < 1


def test_an_embedder_is_one_file_and_one_row(add, tmp_path):
    with pytest.raises(InputError, match="no embedder is called 'letters'"):
        load_embedder("letters")
    add("orchestrator/text/letters.py", embedders, "EMBEDDERS")
    assert "letters (letter counts)" in embedders.describe_embedders()
    outcomes = make_outcomes(300, missing=0.1)
    for name in ("letters", "letters+wordllama"):
        trained = train_router(
            outcomes, embedder=name, predictor="knn", cache_dir=tmp_path / "cache"
        ).orchestrator
        trained.save(tmp_path / name)
        loaded = Orchestrator.load(tmp_path / name)
        assert loaded.embedder.name == name
        assert loaded.decide(TEXTS) == trained.decide(TEXTS)
    kept = load_embedder("letters", cache_dir=tmp_path / "cache").embed(outcomes.texts)
    assert np.array_equal(kept, load_embedder("letters").embed(outcomes.texts))
    report = evaluate_router(outcomes, embedder="letters", seeds=1, replicates=20)
    assert report.row("knn").measures["accuracy"].value > report.row("random").measures["accuracy"].value
