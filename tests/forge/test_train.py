"""Training: rows of many questions, the order of the data, going on after a kill, stopping."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forge.base import count_parameters, load_base
from pipelines.forge.examples import Choice, Example, encode_choices, encode_examples
from pipelines.forge.likelihood import answer_scores, right_choices, rows_of
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.train import Measured, TrainedAdapter, batch_rows, learning_rate, train_adapter
from pipelines.questions.make import make_questions
from tests.forge.conftest import spec_of
from warehouse import InputError

QUESTIONS = make_questions(["arithmetic/chain_sum"], 60, seed=2)
RECIPE = TrainRecipe(
    steps=24, batch_size=8, learning_rate=5e-3, rank=4, warmup_steps=2, evaluate_every=6, checkpoint_every=3,
    threads=1,
)  # fmt: skip
WORDS = st.lists(st.integers(2, 90), min_size=1, max_size=12).map(tuple)


def train(
    model: Path,
    folder: Path,
    recipe: TrainRecipe = RECIPE,
    identity: str = "data",
    tell: Callable[[Measured], None] = lambda measured: None,
    pause_at: int | None = None,
) -> TrainedAdapter:
    spec = spec_of(model)
    base, tokenizer = load_base(spec, recipe)
    learned, watched = QUESTIONS.slice(0, 40), QUESTIONS.slice(40)
    return train_adapter(
        base,
        encode_examples(learned, spec, tokenizer),
        encode_examples(watched, spec, tokenizer),
        encode_choices(watched, spec, tokenizer),
        recipe,
        folder,
        identity=identity,
        pause_at=pause_at,
        tell=tell,
    )


@given(
    groups=st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=1, max_size=5),
    prefix=st.lists(st.integers(2, 90), max_size=6).map(tuple),
)
@settings(max_examples=30, deadline=None)
def test_a_row_of_many_questions_scores_each_as_if_alone(tiny_model: Path, groups, prefix) -> None:
    base, _ = load_base(spec_of(tiny_model), RECIPE)
    examples = [Example(prefix + prompt, answer) for prompt, answers in groups for answer in answers]
    alone = np.concatenate([answer_scores(base, [example]) for example in examples])
    np.testing.assert_allclose(answer_scores(base, examples), alone, atol=2e-4)


def test_a_row_scores_as_the_model_itself_does(tiny_model: Path) -> None:
    import torch

    base, _ = load_base(spec_of(tiny_model), RECIPE)
    example = Example((5, 6, 7, 8), (9, 10, 11))
    logits = base(torch.tensor([[*example.prompt, *example.answer]])).logits[0]
    own = torch.log_softmax(logits, -1)
    expected = sum(own[3 + i, token].item() for i, token in enumerate(example.answer))
    assert answer_scores(base, [example])[0] == pytest.approx(expected, abs=1e-4)
    choice = Choice(example.prompt, ((9,), (10,), (11,)), own[3, 9:12].argmax().item())
    assert right_choices(base, [choice]).tolist() == [True]


@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_rows_keep_the_order_and_lose_nothing(sizes: list[int]) -> None:
    examples = [Example((i,) * size, (1,)) for i, size in enumerate(sizes)]
    rows = rows_of(examples)
    assert [example for row in rows for example in row] == examples
    assert all(len(row) == 1 or sum(len(e.prompt) + 1 for e in row) <= 1_024 for row in rows)


@given(count=st.integers(1, 50), batch=st.integers(1, 70), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_each_pass_has_every_row_once_in_its_own_order(count: int, batch: int, seed: int) -> None:
    recipe = TrainRecipe(batch_size=batch, seed=seed)
    rows = np.concatenate([batch_rows(count, recipe, step) for step in range(-(-3 * count // batch))])
    for epoch in range(3):
        assert sorted(rows[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_the_learning_rate_warms_up_and_ends_near_zero() -> None:
    rates = [learning_rate(RECIPE, step) for step in range(RECIPE.steps)]
    assert rates[0] == pytest.approx(RECIPE.learning_rate / 2)
    assert max(rates) <= RECIPE.learning_rate
    assert rates[-1] < 0.01 * RECIPE.learning_rate


def test_an_adapter_learns_and_peft_reads_it(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    done = train(tiny_model, tmp_path)
    losses = [m["validation_loss"] for m in done.history if "validation_loss" in m]
    assert len(losses) == 5
    assert losses[-1] < losses[0] - 0.3
    assert all(0 <= m["validation_accuracy"] <= 1 for m in done.history if "validation_accuracy" in m)
    assert done.trainable == count_parameters(spec_of(tiny_model), RECIPE).trainable
    base, tokenizer = load_base(spec_of(tiny_model), RECIPE)
    tuned = PeftModel.from_pretrained(base, str(done.folder))
    watched = encode_examples(QUESTIONS.slice(40), spec_of(tiny_model), tokenizer)
    loss = -answer_scores(tuned, watched).sum() / sum(len(e.answer) for e in watched)
    assert loss == pytest.approx(min(losses), abs=1e-4)


def test_only_the_answer_counts_and_the_prompt_is_as_it_is_served(tiny_model: Path) -> None:
    spec = spec_of(tiny_model)
    _, tokenizer = load_base(spec, RECIPE)
    row = QUESTIONS.slice(0, 1)
    (example,) = encode_examples(row, spec, tokenizer)
    asked, choices = row["prompt"][0].as_py(), row["choices"][0].as_py()
    assert tokenizer.decode(example.prompt).replace(" ", "") == f"Question:{asked}\nAnswer:".replace(" ", "")
    right = choices[int(row["answer"][0].as_py())]
    assert tokenizer.decode(example.answer).replace(" ", "") == right
    (lettered,) = encode_examples(row, spec_of(tiny_model, scoring="letter"), tokenizer)
    assert tokenizer.decode(lettered.answer).strip() in "ABCD"
    assert len(lettered.prompt) > len(example.prompt)


KILLED = """
import sys
from pathlib import Path
from tests.forge.test_train import train
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def curve(done: TrainedAdapter) -> list[str]:
    return [json.dumps({k: round(v, 6) for k, v in m.items()}) for m in done.history]


class Stopped(BaseException):
    """As a kill comes: nothing on the way catches it."""


@given(moments=st.lists(st.integers(1, 25), min_size=1, max_size=3))
@settings(max_examples=3, deadline=None)
def test_a_training_that_is_stopped_at_any_moments_ends_the_same(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, moments: list[int]
) -> None:
    whole = train(tiny_model, tmp_path_factory.mktemp("whole"))
    broken = tmp_path_factory.mktemp("broken")
    for moment in moments:
        told: list[Measured] = []

        def stop(measured: Measured, told: list[Measured] = told, moment: int = moment) -> None:
            told.append(measured)
            if len(told) > moment:
                raise Stopped

        with contextlib.suppress(Stopped):
            train(tiny_model, broken, tell=stop)
    assert curve(train(tiny_model, broken)) == curve(whole)


@given(pauses=st.lists(st.integers(1, 30), min_size=1, max_size=3))
@settings(max_examples=3, deadline=None)
def test_a_training_that_pauses_anywhere_ends_the_same(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, pauses: list[int]
) -> None:
    whole = train(tiny_model, tmp_path_factory.mktemp("whole"))
    folder, reached = tmp_path_factory.mktemp("paused"), 0
    for pause_at in pauses:
        told: list[Measured] = []
        done = train(tiny_model, folder, tell=told.append, pause_at=pause_at)
        reached = max(reached, min(pause_at, RECIPE.steps))
        assert done.steps == reached  # it does not go back, and no step further
        assert all(measured["step"] <= reached for measured in told)
        assert done.stopped == ("done" if reached == RECIPE.steps else "pause")
        assert done.folder.exists() == (done.stopped == "done")
    assert curve(train(tiny_model, folder)) == curve(whole)


@pytest.mark.kills
def test_a_training_that_is_killed_three_times_ends_the_same(tiny_model: Path, tmp_path: Path) -> None:
    """The same losses at every step, the same evaluations, the same weights."""
    from safetensors.numpy import load_file

    whole = train(tiny_model, tmp_path / "whole")
    broken, rng = tmp_path / "broken", random.Random(os.getpid())
    seen: set[str] = set()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tiny_model), str(broken)],
            cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # It has written a checkpoint that was not there; from then on any moment will do.
        while process.poll() is None and not new_checkpoints(broken) - seen:
            time.sleep(0.005)
        seen |= new_checkpoints(broken)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = train(tiny_model, broken)
    assert curve(resumed) == curve(whole)
    one, other = (load_file(done.folder / "adapter_model.safetensors") for done in (whole, resumed))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def new_checkpoints(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("checkpoints/*.pt")}


def test_a_half_written_checkpoint_is_passed_over(tiny_model: Path, tmp_path: Path) -> None:
    done = train(tiny_model, tmp_path)
    files = sorted((tmp_path / "checkpoints").glob("*.pt"))
    files[-1].write_bytes(files[-1].read_bytes()[:1_000])
    (tmp_path / "checkpoints" / "step-00000099.tmp").write_bytes(b"half")
    assert curve(train(tiny_model, tmp_path)) == curve(done)


def test_checkpoints_of_another_training_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    train(tiny_model, tmp_path)
    with pytest.raises(InputError, match="another recipe, base or set of questions"):
        train(tiny_model, tmp_path, identity="other data")
    with pytest.raises(InputError, match="another recipe"):
        train(tiny_model, tmp_path, TrainRecipe(**{**RECIPE.to_params(), "rank": 8}))  # type: ignore[arg-type]


def test_it_stops_early_and_keeps_the_best(tiny_model: Path, tmp_path: Path) -> None:
    wild = TrainRecipe(**{**RECIPE.to_params(), "learning_rate": 100.0, "patience": 1})  # type: ignore[arg-type]
    done = train(tiny_model, tmp_path, wild)
    assert done.stopped == "early"
    assert done.steps < wild.steps
    assert done.best_step < done.steps


def test_it_stops_at_the_cap_of_minutes(tiny_model: Path, tmp_path: Path) -> None:
    done = train(tiny_model, tmp_path, TrainRecipe(**{**RECIPE.to_params(), "minutes": 1e-6}))  # type: ignore[arg-type]
    assert done.stopped == "time"
    assert done.steps <= 1
    again = train(tiny_model, tmp_path)  # with more time it goes on
    assert again.stopped == "done"


@pytest.mark.parametrize("field", ["steps", "rank", "learning_rate", "batch_size", "minutes"])
def test_a_recipe_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=field):
        TrainRecipe(**{field: 0})
