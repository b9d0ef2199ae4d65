"""Join an existing Ray cluster, or start a small one for this process, at once or when it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.ray_address import check_ray_address
from pipelines.ray_folders import keep_logs_of, make_scratch, ray_folder, remove_sessions_of
from pipelines.ray_noise import without_ray_noise
from warehouse import CannotRunError, LeerooError

if TYPE_CHECKING:
    from serve.config import ServeConfig

#: Logical CPUs of a local cluster at least. They are book-keeping: engines, Ray Data tasks and Serve replicas
#: share the machine's real cores, and would wait for each other for ever on a two-core laptop otherwise.
MIN_LOGICAL_CPUS = 8
#: How often a cluster is started before its failure is told.
START_ATTEMPTS = 2

_log = logging.getLogger(__name__)


#: What this project wants of Ray where it starts the cluster; what the environment says goes first.
CLUSTER_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The HTTP proxy words its own errors as OpenAI does.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.http.proxy_errors:middlewares",
    # A proxy that died is missed three times before another one starts.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.25",
    # What looks around ten times a second otherwise, in the controller and in every replica, asked or not.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
}
#: And where people wait for answers: Ray has its workers stand back behind all else on the machine.
SERVING_SETTINGS = {"RAY_worker_niceness": "0"}


def joins_cluster(address: str | None = None) -> bool:
    """Tell whether a session would join a cluster that is there rather than start one."""
    if address or os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")  # loading it takes seconds, and what is not loaded is not connected
    return ray is not None and bool(ray.is_initialized())


def _stay_on_this_machine() -> None:
    """Let a cluster of one machine use the loopback address, as Ray does by itself on desktops.

    Where its own address is that, Ray's services listen there and nowhere else.
    """
    from ray._private import ray_constants

    os.environ.setdefault(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
    if os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0":
        ray_constants.ENABLE_RAY_CLUSTER = False


def _start_cluster() -> None:
    """Start a cluster in this process; once more where Ray gave up because the machine is too busy.

    Ray waits 30 s for its own processes, whatever else the machine does, and that wait cannot be set.
    """
    import ray

    folder = ray_folder()
    for attempt in range(START_ATTEMPTS):
        try:
            with _temporary_files_in(make_scratch()), without_ray_noise():
                ray.init(
                    _temp_dir=str(folder) if folder else None,
                    address="local",  # not what an earlier `ray start` on this machine left behind
                    num_cpus=max(os.cpu_count() or 1, MIN_LOGICAL_CPUS),
                    include_dashboard=False,
                    logging_level=logging.WARNING,
                    log_to_driver=False,
                )
            return
        except Exception as error:
            ray.shutdown()
            _end_half_started(error)
            remove_sessions_of(os.getpid())
            if "timed out" not in str(error) or attempt == START_ATTEMPTS - 1:
                raise
            _log.warning("Ray did not start within its 30 s: this machine is busy. Trying once more.")


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have the processes that are started in the block, not this one, keep their temporary files there."""
    before = os.environ.get("TMPDIR")
    tempfile.gettempdir()  # this process's own is looked up once, and stays
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before


def _end_half_started(error: BaseException) -> None:
    """End the processes of a node that did not start: Ray itself forgets them until this process ends."""
    from ray._private.node import Node

    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(node := frame.f_locals.get("self"), Node):
            node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
            return


@contextlib.contextmanager
def ray_session(address: str | None = None, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hold a Ray connection for as long as the block runs.

    Inside a Ray job, or if ``address`` or RAY_ADDRESS names a cluster, joins it; else starts one in this
    process and ends it afterwards. An existing connection is used and left open.

    Args:
        environment: variables for the processes of a cluster that is started here; those of this process take
            precedence.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    named = address or os.environ.get("RAY_ADDRESS")
    if named:
        _check_named(address)
        ray.init(address=address or "auto", logging_level=logging.WARNING, log_to_driver=False)
    else:
        wanted = {**CLUSTER_SETTINGS, **(environment or {})}
        added = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(added)
        _stay_on_this_machine()
        _start_cluster()
    try:
        yield
    except Exception as error:
        is_explained = isinstance(error, LeerooError) and not isinstance(error, CannotRunError)
        if not named and not is_explained and (kept := keep_logs_of(os.getpid())) is not None:
            _log.warning("The logs of Ray and vLLM are kept in %s", kept)
        raise
    finally:
        ray.shutdown()
        if not named:
            for name in added:  # they were for this cluster alone
                os.environ.pop(name, None)
            remove_sessions_of(os.getpid())


def log_folder() -> Path | None:
    """Return where Ray and vLLM log, while a cluster that this process started runs; None without one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    from ray._private.worker import _global_node as node

    return Path(node.get_logs_dir_path()) if node is not None and node.head else None


@contextlib.contextmanager
def serving_session(
    config: ServeConfig, address: str | None = None, *, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a Ray connection for an endpoint; a cluster that is started here gets the configured front.

    Args:
        tell: called with a line on the front, before the cluster starts; an existing cluster has its own.

    Raises:
        InputError: the front does not run here.
    """
    from serve.front.choice import choose_front

    if joins_cluster(address):
        with ray_session(address):
            yield
        return
    with choose_front(config.front, config.longest_request_s) as front:
        if tell is not None:
            tell(f"Requests are taken by {front.told}.")
        with ray_session(environment=SERVING_SETTINGS | front.environment):
            yield


class Connection:
    """A Ray connection that is made when it is first needed, and closed when the block ends.

    Starting a cluster takes half a minute, and a run without open questions needs none.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._stack = contextlib.ExitStack()
        self._is_there = False

    def __enter__(self) -> Connection:
        _check_named(self.address)  # before any work, however late the connection is needed
        return self

    def __exit__(self, *error: object) -> None:
        self._is_there = False
        self._stack.close()

    def ensure(self) -> None:
        """Connect, unless there is a connection."""
        if not self._is_there:
            self._stack.enter_context(ray_session(self.address))
            self._is_there = True


def _check_named(address: str | None) -> None:
    if address:
        check_ray_address(address, where="--address")
    elif os.environ.get("RAY_ADDRESS"):
        check_ray_address(os.environ["RAY_ADDRESS"], where="RAY_ADDRESS")
