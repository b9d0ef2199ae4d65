"""What all tests share: one Ray cluster, which takes 10 to 40 s to start, and who runs beside whom."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where two processes share the tests: users of the shared cluster stay in one, other engines go by file.

    Else each process would start a cluster of its own, and each module's endpoint twice.
    """
    for item in items:
        if item.get_closest_marker("e2e") is not None:
            shares = "ray_cluster" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("cluster" if shares else item.path.stem))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Hold a local Ray cluster with enough logical CPUs for engines, tasks and replicas side by side."""
    from pipelines.ray_session import ray_session

    with ray_session():
        yield
