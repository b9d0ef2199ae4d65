"""The hull of a policy's settings: what mixing them at random can reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def convex_hull(cost: ArrayLike, quality: ArrayLike) -> tuple[Floats, Floats]:
    """Return the non-decreasing upper convex hull of the points, as costs and qualities in rising order.

    It is what random mixing of the settings can reach. The hull of the single experts is the zero-router.
    """
    points = np.column_stack([np.asarray(cost, float), np.asarray(quality, float)])
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    best_before = np.maximum.accumulate(points[:, 1])[:-1]
    points = points[np.append(True, points[1:, 1] > best_before)]  # the others are dearer and no better
    hull: list[tuple[float, float]] = []
    for x, y in points.tolist():
        while len(hull) >= 2:
            (x0, y0), (x1, y1) = hull[-2], hull[-1]
            if (y1 - y0) * (x - x0) > (y - y0) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    corners = np.array(hull)
    return corners[:, 0], corners[:, 1]


def hull_value(cost: ArrayLike, hull_cost: Floats, hull_quality: Floats) -> Floats:
    """Return a hull's quality at some costs: linear between corners, flat after them, NaN before them."""
    at = np.asarray(cost, float)
    value = np.interp(at, hull_cost, hull_quality)
    return np.where(at < hull_cost[0] * (1 - 1e-12), np.nan, value)
