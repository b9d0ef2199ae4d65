import os

import pytest

from orchestrator import load_champion, load_version, log_version, rollback, set_champion
from orchestrator.versions.description import REGISTERED, describe_version
from orchestrator.versions.mlflow_registry import MODEL_NAME, versions
from warehouse import NotReadyError
from warehouse.mlflow_runs import client_of
from warehouse.mlflow_store import point_mlflow

TEXT = "Question: ring ideal field kernel polynomial root?"


def test_versions_from_logging_to_rollback(orchestrator, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(NotReadyError, match="no router is champion"):
        load_champion(uri)
    first = log_version(orchestrator, tracking_uri=uri, metrics={"x": 1.0})
    set_champion(uri, first)
    second = log_version(orchestrator, tracking_uri=uri)
    assert [v.aliases for v in versions(uri)] == [("challenger",), ("champion",)]
    with pytest.raises(NotReadyError, match="replaced no earlier"):
        rollback(uri)
    set_champion(uri, second, note="looks right")
    loaded, version = load_champion(uri)
    assert version == second
    assert loaded.decide([TEXT]) == orchestrator.decide([TEXT])
    assert rollback(uri) == (first, second)
    assert load_champion(uri)[1] == first
    newest = versions(uri)[0]
    page = client_of(uri).get_model_version(MODEL_NAME, newest.version)
    run = client_of(uri).get_run(newest.run_id)
    assert page.description == run.data.tags["mlflow.note.content"] == describe_version(orchestrator, None)
    assert all(f"`{name}`" in page.description for name in orchestrator.experts)
    assert client_of(uri).get_registered_model(MODEL_NAME).description == REGISTERED
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest == newest.training_data
    assert newest.pool == orchestrator.experts
    unaliased = log_version(orchestrator, tracking_uri=uri, alias=None)
    waiting = log_version(orchestrator, tracking_uri=uri)
    set_champion(uri, unaliased)
    assert {v.version: v.aliases for v in versions(uri)}[waiting] == ("challenger",)
    assert rollback(uri) == (first, unaliased)
    assert "rolled back" in newest.note
    assert {v.version: v for v in versions(uri)}[first].metrics["x"] == 1.0
    with pytest.raises(NotReadyError, match="no router version"):
        load_version(uri, "99")

    import mlflow
    import pandas as pd

    point_mlflow(uri)
    model = mlflow.pyfunc.load_model("models:/leeroo-router@champion")
    for asked in ([TEXT], pd.DataFrame({"text": [TEXT]})):
        answer = model.predict(asked)
        assert answer["expert"].tolist() == [orchestrator.decide([TEXT])[0].expert]


def test_the_environment_stays_the_users_own(monkeypatch, tmp_path):
    """What is written there, Ray hands on to every later worker, and commands take for the user's wish."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    point_mlflow(f"sqlite:///{tmp_path / 'one.db'}")
    assert not {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"} & set(os.environ)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    point_mlflow(f"sqlite:///{tmp_path / 'two.db'}")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"


def test_another_store_is_another_registry(orchestrator, tmp_path):
    """A client takes its registry from the store last pointed at, unless told otherwise."""
    first, second = (f"sqlite:///{tmp_path / name}.db" for name in ("one", "two"))
    point_mlflow(first)
    set_champion(first, log_version(orchestrator, tracking_uri=first))
    with pytest.raises(NotReadyError, match="no router is champion"):
        load_champion(second)
