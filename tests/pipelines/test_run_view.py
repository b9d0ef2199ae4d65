"""MLflow's first page: one experiment, the tree unfolded, the figures as columns."""

import json

from pipelines.run_view import COLUMNS, NOTE, VIEW, settle_view
from pipelines.tracked_run import tracked_run
from warehouse.home import Home
from warehouse.mlflow_runs import client_of, open_run


def test_the_page_opens_on_the_rounds_with_their_figures(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home.open(tmp_path / "home")
    home.make()
    assert settle_view(home.mlflow_uri) == ""  # nothing has run yet: MLflow's own first page

    with tracked_run(home, "round r000") as outer, open_run(home.mlflow_uri, "other", "train") as inner:
        inner.log({"accuracy": 0.5})
        inner.describe("**knn**")
        inner.log_dataset("arithmetic", "3c69" * 20, context="training", profile={"questions": 7})
    page = settle_view(home.mlflow_uri)

    client = client_of(home.mlflow_uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    assert page.startswith(f"/#/experiments/{experiment.experiment_id}/runs?")
    assert f"viewStateShareKey={VIEW}" in page
    shown = json.loads(experiment.tags[f"mlflow.sharedViewState.{VIEW}"])["selectedColumns"]
    assert {f"metrics.`{name}`" for name in COLUMNS} <= set(shown)
    assert experiment.tags["mlflow.note.content"] == NOTE

    child = client.get_run(inner.id)
    assert child.data.tags["mlflow.parentRunId"] == outer
    assert child.data.tags["mlflow.runType"] == "evaluation"  # unfolds the round, and only it does
    assert "mlflow.runType" not in client.get_run(outer).data.tags
    assert child.data.tags["mlflow.note.content"] == "**knn**"
    (used,) = child.inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("arithmetic", "training")
