"""Point MLflow at a store, quietly and for this process alone."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: What the two calls below write into the environment.
_WRITTEN = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")

#: MLflow reports every table it makes and every file it moves; its read-outs are in the UI.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def point_mlflow(tracking_uri: str) -> None:
    """Make ``tracking_uri`` this process's store for runs and for the registry.

    MLflow also writes it into the environment, which Ray hands on to every worker it starts later and every
    command takes for the user's own wish: the environment is put back as it was.
    """
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    import mlflow

    named = {variable: os.environ.get(variable) for variable in _WRITTEN}
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    for variable, former in named.items():
        if former is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = former


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's and Alembic's reports of their own work off the screen while the block runs."""
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    from mlflow.utils.logging_utils import disable_logging, enable_logging

    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.ERROR)
    disable_logging()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example was not provided")
            yield
    finally:
        enable_logging()
        alembic.setLevel(level)
