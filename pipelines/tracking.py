"""One MLflow run per round or training, in the home's own SQLite store unless a server is named."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.home import Home

EXPERIMENT = "leeroo"

#: MLflow reports every table it makes and every file it moves; its read-outs are in the UI.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@contextlib.contextmanager
def tracked_run(home: Home, name: str, params: dict[str, Any] | None = None) -> Iterator[str]:
    """Hold an MLflow run for as long as the block runs and give its id; it ends FAILED if the block raises.

    The experiment is made on first use; with a local store its artifacts lie in the home.
    """
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    warnings.filterwarnings("ignore", message=".*input example was not provided.*")
    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    local = home.mlflow_uri.startswith("sqlite:")
    if local:
        home.path.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(home.mlflow_uri)
    mlflow.set_registry_uri(home.mlflow_uri)
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=home.artifacts.as_uri() if local else None)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=name) as run:
        if params:
            mlflow.log_params({key: str(value)[:500] for key, value in params.items()})
        yield run.info.run_id
