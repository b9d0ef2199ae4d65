"""One MLflow run per round or training, in the home's own SQLite store unless a server is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from warehouse.mlflow_store import point_mlflow, quiet_mlflow

if TYPE_CHECKING:
    from warehouse.home import Home

EXPERIMENT = "leeroo"


@contextlib.contextmanager
def tracked_run(
    home: Home, name: str, params: dict[str, Any] | None = None, *, resume: str | None = None
) -> Iterator[str]:
    """Hold an MLflow run for as long as the block runs and give its id; it ends FAILED if the block raises.

    Inside another run it is nested. The experiment is made on first use; with a local store its artifacts lie
    in the home.

    Args:
        home: whose MLflow store.
        name: of the run.
        params: logged when the run is new.
        resume: the id of a run to go on with, where the store knows it.
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
    nested = mlflow.active_run() is not None
    known_run = resume is not None and bool(
        mlflow.search_runs([experiment_id], f"attributes.run_id = '{resume}'", output_format="list")
    )
    with mlflow.start_run(
        run_id=resume if known_run else None, experiment_id=experiment_id, run_name=name, nested=nested
    ) as run:
        if params and not known_run:
            mlflow.log_params({key: str(value)[:500] for key, value in params.items()})
        yield run.info.run_id
