"""One Ray cluster for the whole test run: starting one takes 10 to 40 s."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Hold a local Ray cluster with enough logical CPUs for engines, tasks and replicas side by side.

    Gives the address that takes jobs.
    """
    from pipelines.cluster import ray_session

    with ray_session(dashboard=True):
        yield _jobs_address()


def _jobs_address() -> str:
    from ray._private.worker import get_dashboard_url

    return f"http://{get_dashboard_url()}"
