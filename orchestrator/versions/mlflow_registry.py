"""Versions of the router, kept in MLflow: logged, aliased champion and challenger, loaded, rolled back."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.evaluation.report import EvaluationReport
from orchestrator.evaluation.report_files import write_report
from orchestrator.policy import Orchestrator
from orchestrator.versions.description import REGISTERED, describe_version, headline
from warehouse import InputError, NotReadyError
from warehouse.mlflow_names import LONGEST_TAG, cut
from warehouse.mlflow_places import artifact_root, place_now
from warehouse.mlflow_runs import EXPERIMENT, OpenRun, client_of, is_absent, open_run
from warehouse.mlflow_store import open_store, point_mlflow, quiet_mlflow

MODEL_NAME = "leeroo-router"
CHAMPION, CHALLENGER = "champion", "challenger"
FORMER = "leeroo.former_champion"  # tag on a champion: the version it replaced, which rollback restores
NOTE = "leeroo.note"
POOL = "leeroo.pool"  # tag on a version: its experts, as JSON


@dataclass(frozen=True)
class Version:
    """A registered router."""

    version: str
    aliases: tuple[str, ...]
    created_at: datetime
    run_id: str
    pool: tuple[str, ...]
    predictor: str
    embedder: str
    seed: int | None
    training_data: str
    metrics: dict[str, float]
    note: str


def log_version(
    orchestrator: Orchestrator,
    report: EvaluationReport | None = None,
    *,
    tracking_uri: str,
    metrics: dict[str, float] | None = None,
    run_name: str | None = None,
    alias: str | None = CHALLENGER,
) -> str:
    """Log a run, register the orchestrator as the next version, aliased ``challenger``; return the version.

    Inside an active MLflow run the new run is its child. Figures and JSON of the report are logged with it.

    Args:
        alias: None leaves the challenger that there is.
    """
    import mlflow

    with (
        tempfile.TemporaryDirectory() as scratch,
        open_run(tracking_uri, EXPERIMENT, run_name or "train router") as run,
        quiet_mlflow(),
    ):
        params = {key: value for key, value in orchestrator.info.items() if not isinstance(value, dict)}
        run.log(metrics, params | {"multiplier": repr(orchestrator.multiplier)})
        description = describe_version(orchestrator, report)
        run.describe(description)
        _log_dataset(run, orchestrator)
        if report:
            _log_report(run, report, Path(scratch) / "report")
            if (policy := str(orchestrator.info.get("predictor"))) in {row.name for row in report.rows}:
                run.log(headline(report, policy))
        saved = Path(scratch) / "orchestrator"
        orchestrator.save(saved)
        logged = mlflow.pyfunc.log_model(
            name="router",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"orchestrator": str(saved)},
            signature=_signature(),
            pip_requirements=["leeroo-orchestrator"],
            registered_model_name=MODEL_NAME,
        )
        client = run.client
    version = str(logged.registered_model_version)
    client.set_model_version_tag(MODEL_NAME, version, POOL, json.dumps(orchestrator.experts))
    client.update_registered_model(MODEL_NAME, REGISTERED)
    client.update_model_version(MODEL_NAME, version, cut(description, LONGEST_TAG))
    if alias is not None:
        client.set_registered_model_alias(MODEL_NAME, alias, version)
    return version


def log_evaluation(report: EvaluationReport, *, tracking_uri: str, run_name: str = "evaluate") -> str:
    """Log a report with its intervals, JSON and figures as a run of its own; return the run's id."""
    with tempfile.TemporaryDirectory() as scratch, open_run(tracking_uri, EXPERIMENT, run_name) as run:
        run.log(params=report.settings)
        _log_report(run, report, Path(scratch))
    return run.id


def find_version(tracking_uri: str, version: str) -> str:
    """The number behind a version or alias.

    Raises:
        NotReadyError: there is no such version.
    """
    return str(_find(_client(tracking_uri), version).version)


def load_version(tracking_uri: str, version: str) -> Orchestrator:
    """Load a version by number or alias.

    Raises:
        NotReadyError: there is no such version.
    """
    return Orchestrator.load(find_files(tracking_uri, version))


def find_files(tracking_uri: str, version: str) -> Path:
    """Return the directory on this machine in which a version is saved: a copy, if MLflow is elsewhere.

    Raises:
        NotReadyError: there is no such version.
    """
    client = _client(tracking_uri)
    found = _find(client, version)
    with quiet_mlflow():
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        point_mlflow(tracking_uri)
        address = client.get_model_version_download_uri(MODEL_NAME, found.version)
        root = artifact_root(tracking_uri)
        try:
            directory = download_artifacts(artifact_uri=place_now(address, root) if root else address)
        except (MlflowException, OSError) as error:
            raise InputError(
                f"the files of router version {found.version} cannot be read: {str(error).splitlines()[0]}",
                where=address,
                fix="restore them from a copy, or `leeroo rollback`, or `leeroo train` anew",
            ) from error
    return Path(directory) / "artifacts" / "orchestrator"


def load_champion(tracking_uri: str) -> tuple[Orchestrator, str]:
    """Load the champion; return it with its version.

    Raises:
        NotReadyError: nothing has been promoted yet.
    """
    version = champion_version(tracking_uri)
    if version is None:
        raise NotReadyError(
            "no router is champion yet",
            where=tracking_uri,
            fix="run `leeroo selfplay` or `leeroo train`: the first version becomes champion at once",
        )
    return load_version(tracking_uri, version), version


def champion_version(tracking_uri: str) -> str | None:
    """The champion's version, or None."""
    return _alias(_client(tracking_uri), CHAMPION)


def set_champion(tracking_uri: str, version: str, *, note: str = "") -> None:
    """Make a version champion, remembering the one it replaces. No test is made here."""
    client = _client(tracking_uri)
    found = str(_find(client, version).version)
    former = _alias(client, CHAMPION)
    if former is not None and former != found:
        client.set_model_version_tag(MODEL_NAME, found, FORMER, former)
    if note:
        client.set_model_version_tag(MODEL_NAME, found, NOTE, note)
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, found)
    if _alias(client, CHALLENGER) == found:
        client.delete_registered_model_alias(MODEL_NAME, CHALLENGER)


def set_aside(tracking_uri: str, version: str, *, note: str) -> bool:
    """Take the challenger's alias from a version, with a note; tell whether it had it."""
    client = _client(tracking_uri)
    if _alias(client, CHALLENGER) != version:
        return False
    client.delete_registered_model_alias(MODEL_NAME, CHALLENGER)
    client.set_model_version_tag(MODEL_NAME, version, NOTE, note)
    return True


def rollback(tracking_uri: str) -> tuple[str, str]:
    """Make the champion before this one champion again; return (restored, replaced).

    Raises:
        NotReadyError: there is no champion, or it replaced none.
    """
    client = _client(tracking_uri)
    current = _alias(client, CHAMPION)
    if current is None:
        raise NotReadyError("no router is champion yet", fix="promote a version first")
    former = client.get_model_version(MODEL_NAME, current).tags.get(FORMER)
    if former is None:
        raise NotReadyError(
            f"version {current} replaced no earlier champion",
            fix="`leeroo promote VERSION --force` picks any version",
        )
    client.set_registered_model_alias(MODEL_NAME, CHAMPION, former)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_model_version_tag(MODEL_NAME, current, NOTE, f"rolled back to version {former} at {stamp}")
    return former, current


def versions(tracking_uri: str) -> list[Version]:
    """All versions, newest first."""
    client = _client(tracking_uri)
    by_alias = {alias: _alias(client, alias) for alias in (CHAMPION, CHALLENGER)}
    found = []
    for entry in client.search_model_versions(f"name='{MODEL_NAME}'"):
        data = client.get_run(entry.run_id).data
        found.append(
            Version(
                version=str(entry.version),
                aliases=tuple(alias for alias, number in by_alias.items() if number == str(entry.version)),
                created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
                run_id=entry.run_id,
                pool=tuple(json.loads(entry.tags.get(POOL, "[]"))),
                predictor=data.params.get("predictor", ""),
                embedder=data.params.get("embedder", ""),
                seed=int(data.params["seed"]) if "seed" in data.params else None,
                training_data=data.params.get("training_data", ""),
                metrics=dict(data.metrics),
                note=entry.tags.get(NOTE, ""),
            )
        )
    return sorted(found, key=lambda v: -int(v.version))


def _log_dataset(run: OpenRun, orchestrator: Orchestrator) -> None:
    info = orchestrator.info
    if digest := info.get("training_data"):
        run.log_dataset(
            ", ".join(info.get("sources", [])) or "outcomes",
            str(digest),
            context="training",
            profile={"questions": info.get("questions"), "experts": len(orchestrator.experts)},
        )


def _log_report(run: OpenRun, report: EvaluationReport, scratch: Path) -> None:
    run.log(report.metrics())
    run.log_dataset(
        "evaluation", report.fingerprint, context="evaluation",
        profile={"questions": report.questions, "experts": len(report.experts)},
    )  # fmt: skip
    for path in write_report(report, scratch):
        run.log_file(path, "evaluation")


def _client(tracking_uri: str) -> Any:
    """MLflow's client, once it is seen that somebody is there to ask."""
    open_store(tracking_uri)
    return client_of(tracking_uri)


def _alias(client: Any, alias: str) -> str | None:
    """The version an alias points at. Asked for one by one: a search returns versions without aliases."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(MODEL_NAME, alias).version)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def _find(client: Any, version: str) -> Any:
    from mlflow.exceptions import MlflowException

    number = version if version.isdigit() else _alias(client, version)
    try:
        if number is not None:
            return client.get_model_version(MODEL_NAME, number)
    except MlflowException as error:
        if not is_absent(error):
            raise
    raise NotReadyError(
        f"there is no router version {version!r}", fix="`leeroo versions` lists what there is"
    )


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),  # without a name it takes a plain list of texts too
        outputs=Schema(
            [
                ColSpec(DataType.string, "expert"),
                ColSpec(DataType.string, "fallbacks"),
                ColSpec(DataType.double, "success"),
                ColSpec(DataType.double, "cost_usd"),
                ColSpec(DataType.string, "reason"),
            ]
        ),
        params=ParamSchema([ParamSpec("multiplier", DataType.double, -1.0)]),
    )
