"""Several workers: shares, one result whoever computes it, a worker that dies, and no room for them."""

from __future__ import annotations

import json
import os
import signal
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
from pipelines.forge.train import Measured, TrainedAdapter, batch_rows
from pipelines.forge.training_questions import TrainingQuestions
from pipelines.forge.workers.group import ALONE, Group
from pipelines.forge.workers.ray_workers import Tell, check_seen, run_on_workers
from pipelines.forge.workers.room import Room, check_count, check_room
from pipelines.questions.make import make_questions
from tests.forge.conftest import spec_of, write_tiny_model
from warehouse import CannotRunError, InputError

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
    """Writes down what it deals out; one worker is killed at its ninth share, once."""

    log: Path = Path()

    def share(self, items: Any) -> list[Any]:
        mine = super().share(items)
        with (self.log / f"worker-{self.rank}.jsonl").open("a") as file:
            file.write(json.dumps([example.prompt for example in mine]) + "\n")
        killed = self.log / "killed"
        if (
            self.rank == 1
            and not killed.exists()
            and len(list((self.log / "a").glob("checkpoints/*.pt"))) > 1
        ):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return mine


@pytest.mark.cluster
def test_two_workers_one_of_which_is_killed_learn_what_one_process_does(
    ray_cluster: None, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    base = spec_of(write_tiny_model(tmp_path / "model", family="Qwen2"))
    learn = partial(learn_questions, base, QUESTIONS, "data", RECIPE)
    alone: list[Measured] = []
    one = learn(tmp_path / "one", tell=alone.append)

    def work(*, group: Group, tell: Tell) -> TrainedAdapter:
        from pipelines.forge.checkpoints import Checkpoints

        save = Checkpoints.save

        def watched(checkpoints: Checkpoints, state: Any) -> None:
            (tmp_path / f"worker-{group.rank}-wrote").touch()
            save(checkpoints, state)

        Checkpoints.save = watched  # type: ignore[method-assign]
        return learn(tmp_path / "a", group=WatchedGroup(group.rank, group.size, tmp_path), tell=tell)

    told: list[Measured] = []
    two = run_on_workers(work, 2, tmp_path / "ray", use_gpus=False, tell=told.append)

    assert (tmp_path / "killed").exists()
    assert (two.steps, two.stopped, two.best_step) == (one.steps, one.stopped, one.best_step)
    assert [set(measured) for measured in told] == [set(measured) for measured in alone]
    for mine, other in zip(told, alone, strict=True):
        assert mine == pytest.approx(other, abs=1e-4)
    first, second = (load_file(done.folder / "adapter_model.safetensors") for done in (one, two))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=2e-4)
    assert [path.name for path in tmp_path.glob("worker-*-wrote")] == ["worker-0-wrote"]
    assert not (tmp_path / "ray" / "workers.token").exists()
    check_order(tmp_path, base)


def check_order(folder: Path, base: Any) -> None:
    """Both workers' shares of each step are those of the recipe's batch, dealt out in turn."""
    from transformers import AutoTokenizer

    examples = encode_examples(QUESTIONS.train, base, AutoTokenizer.from_pretrained(base.model))
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
