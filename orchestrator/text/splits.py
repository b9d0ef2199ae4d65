"""Split questions into train, validation and test by their prompt, so that no question is on two sides.

The choices have no say: benchmarks ask each other's questions with other wrong answers (MMLU-Pro those
of MMLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse import TooFewError, text_keys

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Row positions of the three parts."""

    train: Index
    validation: Index
    test: Index


def split_by_text(prompts: Sequence[str], *, seed: int) -> Split:
    """Split at random 60/20/20 into train, validation and test, equal prompts together.

    Seeds come in fives: each five rotates one shuffle, so that together they test every question once. The
    mean over five seeds is then a figure for the whole set, free of the luck of which fifth was drawn.

    Raises:
        TooFewError: there are too few different questions to fill three parts.
    """
    unique, group = np.unique(text_keys(prompts), return_inverse=True)
    if len(unique) < 10:
        raise TooFewError(
            f"{len(unique)} different questions are too few to split", fix="answer at least 10, better 500"
        )
    shuffle, turn = divmod(seed, 5)
    fold = np.empty(len(unique), np.intp)
    fold[np.random.default_rng(shuffle).permutation(len(unique))] = np.arange(len(unique)) * 5 // len(unique)
    return _split_folds((fold[group.ravel()] - turn) % 5)


def frozen_split(prompts: Sequence[str]) -> Split:
    """Split 60/20/20 by the hash of the prompt: a question stays in its part however much data is added.

    Routers are trained with this split, so that any two versions can be compared on questions neither saw.
    """
    return _split_folds((text_keys(prompts) % np.uint64(5)).astype(np.intp))


def folds_by_text(prompts: Sequence[str], count: int, *, seed: int) -> list[Index]:
    """Deal the questions at random to ``count`` folds or, if they are few, fewer; equal prompts together."""
    unique, group = np.unique(text_keys(prompts), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(unique))
    parts = np.array_split(order, min(count, len(unique)))
    return [np.flatnonzero(np.isin(group.ravel(), part)) for part in parts]


def thin(rows: Index, answered: NDArray[np.bool_], most: int, *, seed: int) -> Index:
    """Draw at most so many of the rows, in their order; of each expert's answers at least a fair part.

    Half of the draw is shared out evenly among the experts, as far as they have answers: one that joined
    late, or is asked rarely, is not lost. The rest is drawn from all rows alike.

    Args:
        rows: positions, each once.
        answered: [n, m], over all positions.
        most: how many are drawn. With no more rows than that, all are returned.
        seed: of the draw.
    """
    if len(rows) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(rows)
    share = most // (2 * answered.shape[1])
    is_drawn = np.zeros(len(order), bool)
    for own in answered.T:
        is_drawn[np.flatnonzero(own[order])[:share]] = True
    is_drawn[np.flatnonzero(~is_drawn)[: most - int(is_drawn.sum())]] = True
    return np.sort(order[is_drawn])


def _split_folds(fold: Index) -> Split:
    return Split(np.flatnonzero(fold >= 2), np.flatnonzero(fold == 1), np.flatnonzero(fold == 0))
