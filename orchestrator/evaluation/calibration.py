"""The calibration of predicted success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.evaluation import metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The calibration of predicted success."""

    ece: float
    brier: float
    auroc: dict[str, float]  # expert -> area under the ROC curve
    bins: Floats  # [b, 3] mean predicted, mean observed, count


def calibrate(parts: Sequence[tuple[Floats, Floats]], experts: Sequence[str]) -> Calibration:
    """Measure how far predicted success [n, m] can be believed; parts are (predicted, observed) pairs."""
    predicted, observed = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return Calibration(
        ece=metrics.expected_calibration_error(predicted, observed),
        brier=metrics.brier_score(predicted, observed),
        auroc={name: metrics.auroc(predicted[:, j], observed[:, j]) for j, name in enumerate(experts)},
        bins=metrics.calibration_bins(predicted, observed),
    )
