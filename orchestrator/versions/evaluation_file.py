"""The evaluation that a version was registered with, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.versions.mlflow_registry import versions
from warehouse import InputError, NotReadyError
from warehouse.mlflow_store import point_mlflow, quiet_mlflow

KEPT_AS = "evaluation/evaluation.json"


def read_evaluation(tracking_uri: str, version: str) -> dict[str, Any] | None:
    """What ``evaluation.json`` of a version says; None where the version was registered without one.

    Args:
        tracking_uri: of the registry.
        version: its number.

    Raises:
        NotReadyError: there is no such version.
    """
    run_id = next((known.run_id for known in versions(tracking_uri) if known.version == version), None)
    if run_id is None:
        raise NotReadyError(
            f"there is no router version {version!r}", fix="`leeroo versions` lists what there is"
        )
    with quiet_mlflow():
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        point_mlflow(tracking_uri)
        try:
            path = download_artifacts(run_id=run_id, artifact_path=KEPT_AS, tracking_uri=tracking_uri)
        except (MlflowException, OSError):
            return None
    return read_evaluation_file(Path(path))


def read_evaluation_file(path: Path) -> dict[str, Any]:
    """What an ``evaluation.json`` says, as :mod:`orchestrator.evaluation.report_files` writes it.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = {row["name"] for row in found["rows"]}
        if missing := {"best single", "zero-router", "oracle"} - names:
            raise KeyError(f"no row {min(missing)!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"this is no evaluation: {error}", where=str(path), fix="`leeroo evaluate` writes one"
        ) from None
    return found
