"""Train a LoRA adapter: PyTorch and PEFT, in one process or on several workers; the same after a kill.

There is one loop. Several workers (:mod:`pipelines.forge.workers`) take shares of each batch and average
their gradients; the first one writes and tells.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forge.checkpoints import Checkpoints, State
from pipelines.forge.examples import Choice, Example
from pipelines.forge.likelihood import answer_logprobs, answer_scores, right_choices, rows_of
from pipelines.forge.recipe import TrainRecipe
from pipelines.forge.workers.group import ALONE, Group, Measured, Tell

__all__ = ["Measured", "TrainedAdapter", "adapt", "batch_rows", "learning_rate", "train_adapter"]


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter in a folder as PEFT writes it, and how it came about."""

    folder: Path
    best_step: int
    steps: int
    stopped: str  # done | early | time | pause
    history: tuple[Measured, ...]
    trainable: int  # parameters
    spent_s: float


def adapt(base: Any, recipe: TrainRecipe) -> Any:
    """Return the base with a fresh adapter in float32, seeded; the base's own weights are held fixed.

    Raises:
        InputError: the model has no layers of these names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from warehouse import InputError

    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(recipe.targets), bias="none",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    try:
        model = get_peft_model(base, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise InputError(
            f"the model has no layers called {', '.join(recipe.targets)}",
            where="recipe, targets",
            fix="name its linear layers, such as c_attn or qkv_proj",
        ) from error
    return model


def batch_rows(count: int, recipe: TrainRecipe, step: int) -> NDArray[np.int64]:
    """Rows of the batch of a step, counted from 0: each pass over the data in an order of its own.

    It depends on the seed and the step alone, so that a run goes on with the same data after a kill.
    """
    wanted = np.arange(step * recipe.batch_size, (step + 1) * recipe.batch_size)
    rows = np.empty(len(wanted), np.int64)
    for epoch in np.unique(wanted // count):
        here = wanted // count == epoch
        rows[here] = np.random.default_rng([recipe.seed, int(epoch)]).permutation(count)[wanted[here] % count]
    return rows


def learning_rate(recipe: TrainRecipe, step: int) -> float:
    """Rate of a step, counted from 0: a linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def train_adapter(
    base: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    choices: Sequence[Choice],
    recipe: TrainRecipe,
    folder: Path,
    *,
    identity: str,
    pause_at: int | None = None,
    tell: Tell = lambda measured: None,
    group: Group = ALONE,
) -> TrainedAdapter:
    """Train, going on from the last checkpoint in ``folder`` if there is one, and save the best adapter.

    The best one is that of the lowest validation loss. It stops early after ``recipe.patience`` evaluations
    without a lower one, and at the cap of minutes, time before a kill included.

    Args:
        base: a causal language model, on the device to train on.
        train: examples to learn from.
        validation: examples to watch the loss by.
        choices: questions to watch the accuracy by; may be none.
        recipe: how.
        folder: checkpoints and ``adapter/`` are written there.
        identity: of base and data: what must be the same for a checkpoint to be gone on from.
        pause_at: step to pause at, to be gone on from by another call; None: it goes on to its end.
        tell: told what was measured, as it is; what was before a kill is not told again.
        group: of workers that train it; each calls this with the same arguments.

    Raises:
        InputError: the checkpoints there are of another training.
    """
    import torch

    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    model = adapt(base, recipe)
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimiser = torch.optim.AdamW(
        list(weights.values()), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    checkpoints = Checkpoints(folder / "checkpoints", _identity(identity, recipe))
    wrapped = group.wrap(model)
    step, spent_s, history = 0, 0.0, []
    best = {name: value.detach().clone() for name, value in weights.items()}
    if (state := group.agree(checkpoints.load)) is not None:
        _restore(state, weights, optimiser, best)
        step, spent_s, history = state.step, state.spent_s, list(state.history)
    started = time.monotonic()
    before_s = spent_s
    while True:
        spent_s = group.agree(lambda: before_s + time.monotonic() - started)
        is_late = spent_s >= 60 * recipe.minutes
        is_due = step % recipe.evaluate_every == 0 or step == recipe.steps or is_late
        losses = [m["validation_loss"] for m in history if "validation_loss" in m]
        if is_due and not (history and "validation_loss" in history[-1]):
            measured = {"step": float(step)} | _evaluate(model, validation, choices, group)
            if not losses or measured["validation_loss"] < min(losses):
                best = {name: value.detach().clone() for name, value in weights.items()}
            history.append(measured)
            losses.append(measured["validation_loss"])
            _tell_first(group, tell, measured)
        is_pausing = pause_at is not None and step >= pause_at
        stopped = _why_stop(recipe, step, losses, is_late) or ("pause" if is_pausing else "")
        if group.is_first and (stopped or (step and step % recipe.checkpoint_every == 0)):
            checkpoints.save(_state(step, weights, optimiser, best, history, spent_s))
        if stopped:
            break
        batch = [train[row] for row in batch_rows(len(train), recipe, step)]
        rate = learning_rate(recipe, step)
        loss = _step(wrapped, batch, optimiser, list(weights.values()), rate, recipe, group)
        step += 1
        history.append({"step": float(step), "train_loss": loss, "learning_rate": rate})
        _tell_first(group, tell, history[-1])
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(best[name])
    target = folder / "adapter"
    if group.is_first and stopped != "pause":
        model.save_pretrained(str(target))
    evaluated = [m for m in history if "validation_loss" in m]
    return TrainedAdapter(
        folder=target,
        best_step=int(min(evaluated, key=lambda m: m["validation_loss"])["step"]),
        steps=step,
        stopped=stopped,
        history=tuple(history),
        trainable=sum(value.numel() for value in weights.values()),
        spent_s=spent_s,
    )


def _why_stop(recipe: TrainRecipe, step: int, losses: Sequence[float], is_late: bool) -> str:
    if step >= recipe.steps:
        return "done"
    late, before = losses[-recipe.patience :], losses[: -recipe.patience]
    if before and not min(late) < min(before):  # a loss that is no number is not lower either
        return "early"
    return "time" if is_late else ""


def _step(
    model: Any,
    batch: Sequence[Example],
    optimiser: Any,
    weights: Sequence[Any],
    rate: float,
    recipe: TrainRecipe,
    group: Group,
) -> float:
    """One step of the optimiser; rows of the batch are added up, so that memory does not grow with it.

    A worker's gradient is that of its share of the batch's mean loss, times the number of workers: their mean
    is the gradient of the whole batch.
    """
    import torch

    model.train()
    for parameters in optimiser.param_groups:
        parameters["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    tokens = sum(len(example.answer) for example in batch)
    total = 0.0
    rows = rows_of(sorted(group.share(batch), key=lambda example: len(example.prompt)))
    for number, row in enumerate(rows, 1):
        with group.holding(model, last=number == len(rows)):
            loss = -answer_logprobs(model, row).sum() / tokens
            (loss * group.size).backward()
        total += float(loss.detach())
    (total,) = group.add_up([total], weights[0])
    torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
    optimiser.step()
    return total


def _evaluate(model: Any, validation: Sequence[Example], choices: Sequence[Choice], group: Group) -> Measured:
    """Loss and accuracy over all; each worker measures its share."""
    model.eval()
    own, asked = group.share(validation), group.share(choices)
    sums = [
        -answer_scores(model, own).sum(), sum(len(example.answer) for example in own),
        right_choices(model, asked).sum() if asked else 0, len(asked),
    ]  # fmt: skip
    loss, tokens, right, count = group.add_up([float(value) for value in sums], next(model.parameters()))
    measured = {"validation_loss": loss / tokens}
    if count:
        measured["validation_accuracy"] = right / count
    return measured


def _tell_first(group: Group, tell: Tell, measured: Measured) -> None:
    if group.is_first:
        tell(measured)


def _state(
    step: int,
    weights: dict[str, Any],
    optimiser: Any,
    best: dict[str, Any],
    history: list[Measured],
    spent_s: float,
) -> State:
    import torch

    tensors = {
        "weights": {name: value.detach() for name, value in weights.items()},
        "best": best,
        "optimiser": optimiser.state_dict(),
        "rng": torch.get_rng_state(),
    }
    return State(step, tensors, history, spent_s)


def _restore(state: State, weights: dict[str, Any], optimiser: Any, best: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(state.tensors["weights"][name])
    best.update(state.tensors["best"])
    optimiser.load_state_dict(state.tensors["optimiser"])
    torch.set_rng_state(state.tensors["rng"])


def _identity(identity: str, recipe: TrainRecipe) -> str:
    # The cap of minutes, the threads and how often is written may change between two runs of one training.
    free = ("minutes", "threads", "checkpoint_every")
    fixed = {name: value for name, value in recipe.to_params().items() if name not in free}
    return hashlib.sha256(f"{identity}\n{json.dumps(fixed, sort_keys=True)}".encode()).hexdigest()
