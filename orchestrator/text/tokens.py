"""From texts to tokens, and from pooled tokens to unit rows: what every embedder does alike.

Each text is embedded on its own, never padded beside others, so that its vector is the same to the last bit
whether it comes in a batch of a million or as one request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from orchestrator.text.embedder import Vectors


def tokenise(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
    """Token ids of each text; one text alone goes without the batch's threads, which cost more than it."""
    if len(texts) == 1:
        return [tokenizer.encode(texts[0], add_special_tokens=add_special_tokens).ids]
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
    return [encoding.ids for encoding in encodings]


def run_side_by_side(
    pool_one: Callable[[Sequence[int]], Vectors], rows: Sequence[Sequence[int]], dim: int
) -> Vectors:
    """Pool each text's tokens on its own, as many at once as there are cores; unit rows [n, dim]."""
    if len(rows) == 1:
        return unit_rows(pool_one(rows[0])[None, :])
    out = np.zeros((len(rows), dim), np.float32)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row, vector in enumerate(pool.map(pool_one, rows)):
            out[row] = vector
    return unit_rows(out)


def unit_rows(vectors: Vectors) -> Vectors:
    """The rows [n, d] at length 1; a row of zeros stays one."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit
