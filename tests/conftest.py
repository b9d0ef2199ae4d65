"""One Ray cluster for the whole test run: starting one takes 10 to 40 s."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Hold a local Ray cluster with enough logical CPUs for engines, tasks and replicas side by side."""
    from pipelines.ray_session import ray_session

    with ray_session():
        yield
