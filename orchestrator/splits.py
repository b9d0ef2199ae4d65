"""Split questions into train, validation and test by their text, so that no question is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse import InputError, normalise_text

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Row positions of the three parts."""

    train: Index
    validation: Index
    test: Index


def text_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """One number per question [n]: equal for texts that differ only in case, spaces or order of lines."""
    digests = (
        hashlib.blake2b("\n".join(sorted(map(normalise_text, text.splitlines()))).encode(), digest_size=8)
        for text in texts
    )
    return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], np.uint64)


def split_by_text(texts: Sequence[str], *, seed: int) -> Split:
    """Split at random 60/20/20 into train, validation and test, duplicates together.

    Seeds come in fives: each five rotates one shuffle, so that together they test every question once. The
    mean over five seeds is then a figure for the whole set, free of the luck of which fifth was drawn.

    Raises:
        InputError: there are too few different questions to fill three parts.
    """
    unique, group = np.unique(text_keys(texts), return_inverse=True)
    if len(unique) < 10:
        raise InputError(
            f"{len(unique)} different questions are too few to split", fix="answer at least 10, better 500"
        )
    shuffle, turn = divmod(seed, 5)
    fold = np.empty(len(unique), np.intp)
    fold[np.random.default_rng(shuffle).permutation(len(unique))] = np.arange(len(unique)) * 5 // len(unique)
    return _split_folds((fold[group.ravel()] - turn) % 5)


def frozen_split(texts: Sequence[str]) -> Split:
    """Split 60/20/20 by the hash of the text: a question stays in its part however much data is added.

    Routers are trained with this split, so that any two versions can be compared on questions neither saw.
    """
    return _split_folds((text_keys(texts) % np.uint64(5)).astype(np.intp))


def _split_folds(fold: Index) -> Split:
    return Split(np.flatnonzero(fold >= 2), np.flatnonzero(fold == 1), np.flatnonzero(fold == 0))
