"""The origin of the served orchestrator: MLflow's champion, or a directory."""

from __future__ import annotations

from pathlib import Path

from orchestrator import Orchestrator
from serve.config import ServeConfig
from warehouse import NotReadyError
from warehouse.home import Home
from warehouse.mlflow_places import sqlite_path


def tracking_uri(config: ServeConfig) -> str:
    """Return the address of MLflow: the setting, else ``MLFLOW_TRACKING_URI``, else the home's own store.

    Raises:
        NotReadyError: it would be the home's store, and there is none.
    """
    uri = Home.open(config.home, mlflow_uri=config.tracking_uri).mlflow_uri
    store = sqlite_path(uri)
    if store is not None and not store.exists():
        raise NotReadyError(
            "nothing has been trained here yet",
            where=str(store),
            fix="run `leeroo selfplay` or `leeroo train`: the first version is champion at once",
        )
    return uri


def find_version(config: ServeConfig) -> str:
    """Return the version that should be served now.

    Raises:
        NotReadyError: there is no champion.
    """
    if config.router_dir is not None:
        return config.router_dir.name
    from orchestrator.versions.mlflow_registry import champion_version

    uri = tracking_uri(config)
    version = champion_version(uri)
    if version is None:
        raise NotReadyError(
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
    except NotReadyError:
        return None


def find_directory(config: ServeConfig, version: str) -> Path:
    """Return the directory on this node in which a version is saved.

    Raises:
        NotReadyError: there is no such version.
    """
    if config.router_dir is not None:
        return config.router_dir
    from orchestrator.versions.mlflow_registry import find_files

    return find_files(tracking_uri(config), version)


def load_router(config: ServeConfig) -> tuple[str, Orchestrator]:
    """Return the champion's name and its orchestrator.

    Raises:
        NotReadyError: there is no champion.
    """
    version = find_version(config)
    return version, Orchestrator.load(find_directory(config, version))
