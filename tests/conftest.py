"""What all tests share: one Ray cluster, which takes 10 to 40 s to start, and who runs beside whom."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from tests.ray_nodes import RayNodes

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


class ByCluster(LoadScopeScheduling):
    """The tests of a file stay in one process, and all that use the shared cluster stay in the same one.

    Else each process would start a cluster of its own, and each module's endpoint twice. (pytest-xdist's own
    groups are written into ids of tests, which pytest 9.2 does not let be changed.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        return "cluster" if _uses_cluster(Path(self.config.rootpath, file)) else file


@functools.cache
def _uses_cluster(file: Path) -> bool:
    return "ray_cluster" in file.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where the tests of one mark are asked for, a file that does not name it is not even imported."""
    mark = str(config.getoption("markexpr"))
    if not mark.isidentifier() or not collection_path.match("test_*.py"):
        return None
    return True if mark not in collection_path.read_text(encoding="utf-8") else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByCluster:
    return ByCluster(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Hold a local Ray cluster with enough logical CPUs for engines, tasks and replicas side by side."""
    from pipelines.ray_session import ray_session

    with ray_session():
        yield


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayNodes]:
    """A Ray cluster whose head does no work and whose nodes "a" and "b" do; they start in half a minute.

    A test that kills one calls ``restore`` afterwards, or before.
    """
    from tests.ray_nodes import MISSING, RayNodes, can_make_nodes

    if not can_make_nodes():
        pytest.skip(MISSING)
    nodes = RayNodes()
    try:
        nodes.start("head", cpus=0)
        nodes.restore()
        yield nodes
    finally:
        nodes.close()
