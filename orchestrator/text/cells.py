"""Rows of a large memory by cells, so that a query is compared with some thousands of them.

An inverted file (Sivic and Zisserman, *Video Google*, 2003): k-means puts the rows into cells, and a query
looks into the cells nearest to it until it has seen enough rows. The cells are twice the root of the rows, so
what is compared, cells and rows together, hardly grows with the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Memories below this are compared whole.
FROM_ROWS = 20_000
#: Rows that a query is compared with, at least.
LOOKED_ROWS = 8_192
_CELLS_PER_ROOT = 2
_SAMPLE = 131_072  # rows that the cells are learned from
_BLOCK = 8_192

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """Where the rows of each cell lie: those of cell ``c`` are ``starts[c]`` up to ``starts[c + 1]``."""

    centres: Floats32  # [c, d]
    starts: NDArray[np.int64]  # [c + 1]

    def products(self, memory: Floats32, row: Floats32, wanted: int) -> tuple[NDArray[np.intp], Floats32]:
        """Compare a query with the rows of the cells nearest to it.

        Args:
            memory: rows [n, d] in the order that :func:`arrange` gave.
            row: the query [d].
            wanted: rows that are needed.

        Returns:
            Positions of rows, at least ``LOOKED_ROWS`` and ``wanted`` of them or all, and their products
            with the query.
        """
        # One query at a time, so that what it finds does not depend on what else is asked.
        far = np.vecdot(self.centres, self.centres) - 2 * (self.centres @ row)
        sizes = np.diff(self.starts)
        looked = max(LOOKED_ROWS, wanted)
        count = 1 + 4 * looked * len(sizes) // max(len(memory), 1)
        nearest = np.argpartition(far, count - 1)[:count] if count < len(far) else np.arange(len(far))
        if sizes[nearest].sum() < looked:
            nearest = np.arange(len(far))
        nearest = nearest[np.lexsort((nearest, far[nearest]))]
        seen = np.cumsum(sizes[nearest])
        chosen = np.sort(nearest[: int(np.searchsorted(seen, looked)) + 1])
        begins, ends = self.starts[chosen], self.starts[chosen + 1]
        spans = zip(begins.tolist(), ends.tolist(), strict=True)
        found = np.concatenate([memory[begin:end] @ row for begin, end in spans])
        before = np.cumsum(ends - begins) - (ends - begins)
        return np.arange(len(found)) + np.repeat(begins - before, ends - begins), found


def arrange(rows: Floats32) -> tuple[NDArray[np.intp], Cells]:
    """Put rows [n, d] into cells: the order [n] in which they are to lie, and the cells."""
    from sklearn.cluster import MiniBatchKMeans

    count = min(len(rows), int(_CELLS_PER_ROOT * len(rows) ** 0.5))
    random = np.random.default_rng(0)
    sample = rows
    if len(rows) > _SAMPLE:
        sample = rows[np.sort(random.choice(len(rows), _SAMPLE, replace=False))]
    means = MiniBatchKMeans(
        count, init="random", n_init=1, batch_size=_BLOCK, max_iter=10, random_state=0, compute_labels=False
    ).fit(sample)
    centres = np.ascontiguousarray(means.cluster_centers_, np.float32)
    half = np.vecdot(centres, centres) / 2
    cell = np.concatenate(
        [
            (rows[start : start + _BLOCK] @ centres.T - half).argmax(axis=1)
            for start in range(0, len(rows), _BLOCK)
        ]
    )
    order = np.argsort(cell, kind="stable")
    sizes = np.bincount(cell, minlength=count)
    return order, Cells(centres, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
