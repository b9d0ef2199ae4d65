"""Run a training on several Ray workers by Ray Train; when one dies, all start again from the checkpoint."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipelines.forge.workers.group import Group, Measured, Tell
from warehouse import CannotRunError, LeerooError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

ATTEMPTS = 3  # at most so many times the workers are started again
LOOK_S = 0.5  # how often what was measured is fetched


class Work(Protocol[T_co]):
    """What every worker does; it can be pickled."""

    def __call__(self, *, group: Group, tell: Tell) -> T_co:
        """Do it; ``tell`` is called by the first worker only."""
        ...


@dataclass(frozen=True)
class _Refused:
    error: LeerooError


def run_on_workers(
    work: Work[T],
    count: int,
    folder: Path,
    *,
    use_gpus: bool,
    tell: Tell = lambda measured: None,
    attempts: int = ATTEMPTS,
) -> T:
    """Run work on so many workers of the Ray cluster that this process is connected to.

    When a worker dies, all are started again, and the work goes on from what it has written. An error of
    ours is raised here at once, as the work raised it.

    Args:
        work: what each worker does; it must go on from its own checkpoints.
        count: workers; each takes one CPU, and one GPU with ``use_gpus``.
        folder: of the training, on a disk that this process and all workers see.
        use_gpus: train on GPUs (NCCL), else on CPUs (gloo).
        tell: called in this thread with what the first worker measured, each thing once.
        attempts: how often the workers are started again at most.

    Returns:
        what the first worker's work returned.

    Raises:
        CannotRunError: workers died more often, or do not see the folder.
    """
    import ray

    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    token, sign = uuid.uuid4().hex, folder / "workers.token"
    sign.write_text(token)
    board = ray.remote(num_cpus=0)(_Board).remote()
    outcome: list[T | _Refused] = []
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            outcome.append(_trainer(work, count, folder, use_gpus, token, board, attempts).fit().return_value)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    told: set[tuple[float, bool]] = set()

    def pass_on() -> None:
        for measured in ray.get(board.take.remote()):
            key = (measured["step"], "train_loss" in measured)
            if key not in told:  # steps after a checkpoint are taken again when a worker died
                told.add(key)
                tell(measured)

    try:
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_S)
            pass_on()
        pass_on()
    finally:
        ray.kill(board)  # a first worker that nobody listens to any more ends at its next word
        sign.unlink(missing_ok=True)
    if failures:
        raise CannotRunError(
            f"the workers died {attempts + 1} times: {_last_line(failures[0])}",
            where=str(folder),
            fix="see the logs of Ray (`ray logs`); the same command goes on from the last checkpoint",
        ) from failures[0]
    if isinstance(found := outcome[0], _Refused):
        raise found.error
    return found


class _Board:
    """What the first worker measured, until it is fetched."""

    def __init__(self) -> None:
        self._new: list[Measured] = []

    def put(self, measured: Measured) -> None:
        self._new.append(measured)

    def take(self) -> list[Measured]:
        taken, self._new = self._new, []
        return taken


def _trainer(
    work: Work[T], count: int, folder: Path, use_gpus: bool, token: str, board: Any, attempts: int
) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train_one() -> object:
        import ray
        from ray.train import get_context

        context = get_context()
        group = Group(context.get_world_rank(), context.get_world_size())

        def tell(measured: Measured) -> None:
            ray.get(board.put.remote(measured))

        try:
            group.check(lambda: check_seen(folder, token))
            return work(group=group, tell=tell)
        except LeerooError as error:  # starting again would not help
            return _Refused(error)

    return TorchTrainer(
        train_one,
        scaling_config=ScalingConfig(num_workers=count, use_gpu=use_gpus),
        run_config=RunConfig(
            name="workers", storage_path=str(folder), failure_config=FailureConfig(max_failures=attempts)
        ),
    )


def check_seen(folder: Path, token: str) -> None:
    """See that a worker sees the folder of the training, by the token that was written there.

    Raises:
        CannotRunError: it does not.
    """
    try:
        is_seen = (folder / "workers.token").read_text() == token
    except OSError:
        is_seen = False
    if not is_seen:
        import socket

        raise CannotRunError(
            f"a worker on {socket.gethostname()} does not see the folder of the training",
            where=str(folder),
            fix="put the home on a disk that all nodes share (--home)",
        )


def _last_line(error: BaseException) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
