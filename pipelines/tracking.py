"""One MLflow run per round or training, in the home's own SQLite store unless a server is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.mlflow_store import point_mlflow, quiet_mlflow

if TYPE_CHECKING:
    from pipelines.home import Home

EXPERIMENT = "leeroo"


@contextlib.contextmanager
def tracked_run(home: Home, name: str, params: dict[str, Any] | None = None) -> Iterator[str]:
    """Hold an MLflow run for as long as the block runs and give its id; it ends FAILED if the block raises.

    The experiment is made on first use; with a local store its artifacts lie in the home.
    """
    import mlflow

    local = home.mlflow_uri.startswith("sqlite:")
    if local:
        home.path.mkdir(parents=True, exist_ok=True)
    with quiet_mlflow():
        point_mlflow(home.mlflow_uri)
        known = mlflow.get_experiment_by_name(EXPERIMENT)
        experiment_id = (
            known.experiment_id
            if known
            else mlflow.create_experiment(
                EXPERIMENT, artifact_location=home.artifacts.as_uri() if local else None
            )
        )
    with mlflow.start_run(experiment_id=experiment_id, run_name=name) as run:
        if params:
            mlflow.log_params({key: str(value)[:500] for key, value in params.items()})
        yield run.info.run_id
