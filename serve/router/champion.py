"""Where the orchestrator that is served comes from: MLflow's champion, or a directory."""

from __future__ import annotations

import os

from orchestrator import Orchestrator
from serve.config import ServeConfig
from warehouse import InputError


def tracking_uri(config: ServeConfig) -> str:
    """Return the address of MLflow: the setting, else ``MLFLOW_TRACKING_URI``, else the home's own store.

    Raises:
        InputError: it would be the home's store, and there is none.
    """
    if uri := config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    store = config.home.absolute() / "mlflow.db"
    if not store.exists():
        raise InputError(
            "nothing has been trained here yet",
            where=str(store),
            fix="run `leeroo selfplay` or `leeroo train`: the first version is champion at once",
        )
    return f"sqlite:///{store}"


def find_version(config: ServeConfig) -> str:
    """Return the version that should be served now.

    Raises:
        InputError: there is no champion.
    """
    if config.router_dir is not None:
        return config.router_dir.name
    from orchestrator.versions.mlflow_registry import champion_version

    uri = tracking_uri(config)
    version = champion_version(uri)
    if version is None:
        raise InputError(
            "no router is champion yet",
            where=uri,
            fix="run `leeroo selfplay` or `leeroo train`: the first version is champion at once",
        )
    return version


def find_challenger(config: ServeConfig) -> str | None:
    """Return the version that waits to become champion; None when there is none."""
    if config.router_dir is not None:
        return None
    from orchestrator.versions.mlflow_registry import CHALLENGER, find_version

    try:
        return find_version(tracking_uri(config), CHALLENGER)
    except InputError:
        return None


def load_router(config: ServeConfig, version: str | None = None) -> tuple[str, Orchestrator]:
    """Return a version's name and its orchestrator; the champion when no version is named.

    Raises:
        InputError: there is no champion, or no such version.
    """
    if config.router_dir is not None:
        return config.router_dir.name, Orchestrator.load(config.router_dir)
    from orchestrator.versions.mlflow_registry import load_version

    wanted = version or find_version(config)
    return wanted, load_version(tracking_uri(config), wanted)
