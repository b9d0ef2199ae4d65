"""Several workers: shares, one result whoever computes it, a worker that dies, and no room for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.forge.examples import encode_examples
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.run import learn_questions
from pipelines.forge.train import TrainedAdapter, batch_rows
from pipelines.forge.training_questions import TrainingQuestions
from pipelines.forge.workers.group import ALONE, Group, Measured, Tell
from pipelines.forge.workers.ray_workers import check_seen, run_on_workers
from pipelines.forge.workers.room import Room, check_count, check_room
from pipelines.questions.make import make_questions
from tests.forge.conftest import spec_of, write_tiny_model
from warehouse import CannotRunError, InputError

ROOT = Path(__file__).parents[2]
MADE = make_questions(["arithmetic/chain_sum"], 60, seed=2)
QUESTIONS = TrainingQuestions(MADE.slice(0, 41), MADE.slice(41), ())
RECIPE = TrainRecipe(
    steps=12, batch_size=7, learning_rate=5e-3, rank=4, warmup_steps=2, evaluate_every=4, checkpoint_every=3,
    threads=1,
)  # fmt: skip


@given(items=st.lists(st.integers()), size=st.integers(1, 8))
def test_shares_are_disjoint_in_order_and_all_there_is(items: list[int], size: int) -> None:
    shares = [Group(rank, size).share(list(enumerate(items))) for rank in range(size)]
    assert sorted(pair for share in shares for pair in share) == list(enumerate(items))
    assert all(share == sorted(share) for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ALONE.share(items) == items


@dataclass(frozen=True)
class WatchedGroup(Group):
    """Writes down what it deals out; its second worker is killed once there are two checkpoints."""

    log: Path = Path()
    kills: bool = False

    def share(self, items: Any) -> list[Any]:
        mine = super().share(items)
        with (self.log / f"worker-{self.rank}.jsonl").open("a") as file:
            file.write(json.dumps([example.prompt for example in mine]) + "\n")
        killed = self.log / "killed"
        if (
            self.kills
            and self.rank == 1
            and not killed.exists()
            and len(list(self.log.glob(CHECKPOINTS))) > 1
        ):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return mine


CHECKPOINTS = "trained/checkpoints/*.pt"


def learn_watched(
    model: str, folder: Path, *, group: Group, tell: Tell, kills: bool = False, pause_at: int | None = None
) -> TrainedAdapter:
    """Train, and write down who dealt out what and who wrote."""
    from pipelines.forge.checkpoints import Checkpoints

    save = Checkpoints.save

    def watched(checkpoints: Checkpoints, state: Any) -> None:
        (folder / f"worker-{group.rank}-wrote").touch()
        save(checkpoints, state)

    Checkpoints.save = watched  # type: ignore[method-assign]
    own = WatchedGroup(group.rank, group.size, folder, kills)
    return learn_questions(
        spec_of(model), QUESTIONS, "data", RECIPE, folder / "trained", pause_at=pause_at, group=own, tell=tell
    )


WORKER = """
import datetime, json, sys
from pathlib import Path
import torch
from pipelines.forge.workers.group import Group
from tests.forge.test_workers import learn_watched
model, folder, rank = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2,
    timeout=datetime.timedelta(minutes=9),
)
told = []
learn_watched(model, folder, group=Group(rank, 2), tell=told.append, kills=len(sys.argv) > 4)
(folder / f"told-{rank}.json").write_text(json.dumps(told))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model of the family of the recipe's base."""
    return str(write_tiny_model(tmp_path_factory.mktemp("qwen") / "model", family="Qwen2"))


def learn_alone(model: str, folder: Path) -> tuple[TrainedAdapter, list[Measured]]:
    told: list[Measured] = []
    return learn_questions(spec_of(model), QUESTIONS, "data", RECIPE, folder / "one", tell=told.append), told


def check_alike(one: Path, two: Path, alone: list[Measured], told: list[Measured]) -> None:
    """The same curve and the same weights, but for rounding."""
    from safetensors.numpy import load_file

    assert [set(measured) for measured in told] == [set(measured) for measured in alone]
    for mine, other in zip(told, alone, strict=True):
        assert mine == pytest.approx(other, abs=1e-4)
    first, second = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=2e-4)


def run_two(model: str, folder: Path, *options: str) -> list[int]:
    """Run two workers to their ends; return their exit codes."""
    (folder / "meeting").unlink(missing_ok=True)
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, model, str(folder), str(rank), *options], cwd=ROOT)
        for rank in (0, 1)
    ]
    try:
        return [worker.wait(timeout=550) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()


def test_two_processes_one_of_which_is_killed_learn_what_one_does(qwen: str, tmp_path: Path) -> None:
    _, alone = learn_alone(qwen, tmp_path)
    first, second = run_two(qwen, tmp_path, "kills")
    assert first != 0  # it does not wait for one that is gone
    assert second == -signal.SIGKILL
    assert run_two(qwen, tmp_path) == [0, 0]
    told = json.loads((tmp_path / "told-0.json").read_text())
    check_alike(tmp_path / "one", tmp_path / "trained", alone[-len(told) :], told)
    assert 0 < len(told) < len(alone)  # it went on from a checkpoint
    assert json.loads((tmp_path / "told-1.json").read_text()) == []
    assert [path.name for path in tmp_path.glob("worker-*-wrote")] == ["worker-0-wrote"]
    check_order(tmp_path, qwen)


@pytest.mark.cluster
def test_a_worker_of_ray_train_that_is_killed_is_replaced_and_nothing_differs(
    ray_cluster: None, qwen: str, tmp_path: Path
) -> None:
    one, alone = learn_alone(qwen, tmp_path)
    told: list[Measured] = []
    pausing = partial(learn_watched, qwen, tmp_path, pause_at=4)
    paused = run_on_workers(pausing, 2, tmp_path / "ray", use_gpus=False, tell=told.append)
    assert (paused.steps, paused.stopped, told[-1]["step"]) == (4, "pause", 4)
    work = partial(learn_watched, qwen, tmp_path, kills=True)
    two = run_on_workers(work, 2, tmp_path / "ray", use_gpus=False, tell=told.append)
    assert (tmp_path / "killed").exists()
    assert (two.steps, two.stopped, two.best_step) == (one.steps, one.stopped, one.best_step)
    check_alike(tmp_path / "one", tmp_path / "trained", alone, told)
    assert [path.name for path in tmp_path.glob("worker-*-wrote")] == ["worker-0-wrote"]
    assert not (tmp_path / "ray" / "workers.token").exists()


def check_order(folder: Path, model: str) -> None:
    """Both workers' shares of each step are those of the recipe's batch, dealt out in turn."""
    from transformers import AutoTokenizer

    examples = encode_examples(QUESTIONS.train, spec_of(model), AutoTokenizer.from_pretrained(model))
    seen = [set((folder / f"worker-{rank}.jsonl").read_text().splitlines()) for rank in (0, 1)]
    for step in range(RECIPE.steps):
        batch = [list(examples[row].prompt) for row in batch_rows(len(examples), RECIPE, step)]
        assert json.dumps(batch[0::2]) in seen[0]
        assert json.dumps(batch[1::2]) in seen[1]


ROOMS = st.tuples(*[st.integers(0, 16)] * 4).map(
    lambda n: Room(max(n[0], n[2]), max(n[1], n[3]), min(n[0], n[2]), min(n[1], n[3]))
)


@given(count=st.integers(1, 8), room=ROOMS)
def test_workers_have_room_or_are_refused_with_what_is_there(count: int, room: Room) -> None:
    there, free = (room.gpus, room.free_gpus) if room.gpus else (room.cpus, room.free_cpus)
    if count <= free:
        check_room(count, room)
        return
    with pytest.raises(
        CannotRunError, match=f"{count} workers need a {'GPU' if room.gpus else 'CPU'}"
    ) as caught:
        check_room(count, room)
    assert f"{there:g}" in str(caught.value)


def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(CannotRunError, match="4 workers need a GPU each, and the cluster has 2"):
        check_room(4, Room(cpus=64, gpus=2, free_cpus=64, free_gpus=2))
    with pytest.raises(CannotRunError, match="1 of the cluster's 4 are free"):
        check_room(4, Room(cpus=64, gpus=4, free_cpus=64, free_gpus=1))


@pytest.mark.parametrize(("count", "batch"), [(0, 8), (9, 64), (8, 7)])
def test_workers_without_work_are_refused(count: int, batch: int) -> None:
    with pytest.raises(InputError, match=r"--workers|--batch"):
        check_count(count, batch)


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="all nodes share"):
        check_seen(tmp_path, "token")
    (tmp_path / "workers.token").write_text("of another run")
    with pytest.raises(CannotRunError, match="does not see"):
        check_seen(tmp_path, "token")
    (tmp_path / "workers.token").write_text("token")
    check_seen(tmp_path, "token")
