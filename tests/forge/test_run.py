"""A whole run with a tiny model: record, MLflow, catalogue; and what it refuses before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experts import load_catalogue
from pipelines.forge.gap import find_target
from pipelines.forge.leaks import EvaluationSet
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import ForgeSettings, forge_folder, forge_specialist
from pipelines.forge.train import Measured
from pipelines.questions.make import make_questions
from pipelines.selfplay.round_record import FROZEN
from warehouse import CannotRunError, InputError
from warehouse.home import Home

CATALOGUE = """experts:
  - {{name: tiny, backend: vllm, model: "{model}", scoring: cloze, params_b: 0.00003, tags: [small],
     price: {{usd_per_mtok_in: 0.01, usd_per_mtok_out: 0.01}}}}
"""
GAP = find_target("arithmetic/chain_sum")
RECIPE = TrainRecipe(steps=8, batch_size=8, rank=4, evaluate_every=4, checkpoint_every=2, threads=1)
SETTINGS = ForgeSettings("tiny", questions=60, validation=10, recipe=RECIPE)


def test_a_specialist_is_made_registered_and_in_a_catalogue_and_made_once(
    tiny_model: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq
    from mlflow import MlflowClient

    home = Home.open(tmp_path / "home")
    frozen = make_questions(["arithmetic/chain_sum"], 30, seed=4, round=FROZEN)
    home.warehouse().append("questions", frozen, round=FROZEN)
    file = tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE.format(model=tiny_model))
    known = load_catalogue(file)
    hurried = replace(SETTINGS, recipe=replace(RECIPE, minutes=1e-9))
    with pytest.raises(CannotRunError, match="larger --minutes"):
        forge_specialist(home, GAP, known, hurried)
    made = forge_specialist(home, GAP, known, SETTINGS)

    spec = load_catalogue(made.specialist.catalogue).get("tiny-arithmetic-chain-sum")
    assert (spec.model, spec.tags) == (str(tiny_model), ("small", "specialist", "arithmetic-chain-sum"))
    assert (Path(spec.lora or "") / "adapter_model.safetensors").is_file()
    assert spec.version != known.get("tiny").version
    assert "licence apache-2.0" in made.specialist.catalogue.read_text()
    learned = pq.read_table(forge_folder(home, GAP) / "train.parquet")
    assert EvaluationSet(frozen).find(learned) == ()

    client = MlflowClient(home.mlflow_uri, registry_uri=home.mlflow_uri)
    version = client.get_model_version(made.specialist.model, made.specialist.version)
    assert version.tags["gap"] == "arithmetic/chain_sum"
    assert version.tags["data_fingerprint"] == made.fingerprint
    curve = client.get_metric_history(made.specialist.run_id, "train_loss")
    assert [point.step for point in curve] == list(range(1, 9))

    told: list[Measured] = []
    again = forge_specialist(home, GAP, known, SETTINGS, on_measured=told.append)
    assert (again, told) == (made, [])
    other = ForgeSettings("tiny", questions=61, validation=10, recipe=RECIPE)
    with pytest.raises(InputError, match="questions was 60 when it began"):
        forge_specialist(home, GAP, known, other)


def test_what_cannot_be_made_leaves_nothing_behind(tiny_model: Path, tmp_path: Path) -> None:
    home, file = Home.open(tmp_path / "home"), tmp_path / "catalogue.yaml"
    file.write_text(CATALOGUE.format(model=tmp_path / "nowhere"))
    with pytest.raises(InputError):
        forge_specialist(home, GAP, load_catalogue(file), SETTINGS)
    assert not home.path.exists()
