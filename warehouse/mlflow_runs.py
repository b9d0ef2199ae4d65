"""The one opening of an MLflow run: in its experiment, under its parent, its files beside the store."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.mlflow_names import cut, valid_name, valid_param, valid_tag
from warehouse.mlflow_places import artifact_root
from warehouse.mlflow_store import open_store, point_mlflow, quiet_mlflow

#: The one experiment of a home: rounds, with what was trained, chosen and found in them; and all the rest.
EXPERIMENT = "leeroo"
#: The tag that MLflow's pages show as a description.
NOTE_TAG = "mlflow.note.content"
#: Runs of this type inside a run have MLflow's pages show it unfolded; nothing else unfolds one from here.
_UNFOLDED = {"mlflow.runType": "evaluation"}
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1_000  # what MLflow takes in one call


@dataclass(frozen=True)
class OpenRun:
    """A run that is going on. Names are made valid, long values cut, and what is no number is left out."""

    id: str
    experiment_id: str
    client: Any

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        step: int = 0,
    ) -> None:
        """Write metrics, parameters and tags down."""
        import time

        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        measured = [
            Metric(valid_name(name), float(value), now, step)
            for name, value in (metrics or {}).items()
            if math.isfinite(value)
        ]
        set_to = [Param(valid_name(name), valid_param(value)) for name, value in (params or {}).items()]
        marked = [RunTag(valid_name(name), valid_tag(value)) for name, value in (tags or {}).items()]
        for start in range(0, len(measured), _METRICS_AT_ONCE):
            self.client.log_batch(self.id, metrics=measured[start : start + _METRICS_AT_ONCE])
        for start in range(0, len(set_to), _PARAMS_AT_ONCE):
            self.client.log_batch(self.id, params=set_to[start : start + _PARAMS_AT_ONCE])
        for start in range(0, len(marked), _PARAMS_AT_ONCE):
            self.client.log_batch(self.id, tags=marked[start : start + _PARAMS_AT_ONCE])

    def describe(self, text: str) -> None:
        """Say in Markdown what the run found; MLflow's pages show it above the figures."""
        self.log(tags={NOTE_TAG: text})

    def log_dataset(self, name: str, digest: str, *, context: str, profile: Mapping[str, object]) -> None:
        """Note which data the run used: shown by MLflow in a column of its own. The data stay where they are.

        Args:
            name: of the data.
            digest: tells one state of them from another; MLflow keeps 36 characters.
            context: what they were used for, such as ``training``.
            profile: what is to be known of them, such as how many rows.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=cut(name, 500),
            digest=cut(digest, 36),
            source_type="leeroo warehouse",
            source=json.dumps({"tables": ["questions", "answers"]}),
            profile=json.dumps(dict(profile)),
        )
        self.client.log_inputs(self.id, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_dict(self, content: Mapping[str, Any], name: str) -> None:
        """Keep a JSON file."""
        self.client.log_dict(self.id, dict(content), name)

    def log_text(self, text: str, name: str) -> None:
        """Keep a text file."""
        self.client.log_text(self.id, text, name)

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure."""
        self.client.log_figure(self.id, figure, name)

    def log_file(self, path: Path, folder: str) -> None:
        """Keep a copy of a file in a folder of the run."""
        self.client.log_artifact(self.id, str(path), folder)


@contextmanager
def open_run(
    tracking_uri: str,
    experiment: str,
    name: str,
    *,
    params: Mapping[str, object] | None = None,
    resume: str | None = None,
) -> Iterator[OpenRun]:
    """Hold an MLflow run for as long as the block runs; it ends FAILED if the block raises.

    Inside another run it is that run's child, in its experiment. An experiment that was deleted in MLflow's
    pages is restored. On SQLite the files lie beside the database, whatever the working directory is.

    Args:
        tracking_uri: of the store, which is the active run's too.
        experiment: made on first use.
        name: of the run.
        params: logged when the run is new.
        resume: the id of a run to go on with, where the store knows it.

    Raises:
        InputError: the store cannot be used.
    """
    open_store(tracking_uri)
    with quiet_mlflow():
        import mlflow

        parent = mlflow.active_run()
        point_mlflow(tracking_uri)
        client = client_of(tracking_uri)
        known = _known_run(client, resume)
        experiment_id = (
            known.info.experiment_id
            if known
            else parent.info.experiment_id
            if parent
            else find_experiment(client, tracking_uri, experiment)
        )
        if known or parent:
            _restore(client, client.get_experiment(experiment_id))
    with mlflow.start_run(
        run_id=known.info.run_id if known else None,
        experiment_id=experiment_id,
        run_name=name,
        nested=parent is not None,
    ) as started:
        run = OpenRun(started.info.run_id, experiment_id, client)
        if not known:
            run.log(params=params, tags=_UNFOLDED if parent else None)
        yield run


def active_run() -> OpenRun:
    """The run that this thread has open; there has to be one."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None, "no MLflow run is open"
    return OpenRun(run.info.run_id, run.info.experiment_id, client_of(mlflow.get_tracking_uri()))


def client_of(tracking_uri: str) -> Any:
    """MLflow's client for a store that :func:`open_store` has seen."""
    with quiet_mlflow():
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri, registry_uri=tracking_uri)


def find_experiment(client: Any, tracking_uri: str, name: str) -> str:
    """The id of an experiment, made or restored where it is not there."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        root = artifact_root(tracking_uri)
        location = (root / name).as_uri() if root else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another command was quicker
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    _restore(client, known)
    return str(known.experiment_id)


def _restore(client: Any, experiment: Any) -> None:
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        logging.getLogger(__name__).info("restored the MLflow experiment %s", experiment.name)


def _known_run(client: Any, run_id: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
        if run.info.lifecycle_stage == "deleted":
            client.restore_run(run_id)
            run = client.get_run(run_id)
        return run
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: Exception) -> bool:
    """Tell whether MLflow says that something is not there, rather than that it cannot be asked."""
    return getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
