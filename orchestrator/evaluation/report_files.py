"""An evaluation as files: JSON and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.evaluation.figures import draw_figures
from orchestrator.evaluation.report import EvaluationReport


def write_report(report: EvaluationReport, directory: Path) -> list[Path]:
    """Write ``evaluation.json`` and the figures; return the files written."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "evaluation.json"
    path.write_text(report_to_json(report) + "\n")
    return [path, *draw_figures(report, directory)]


def report_to_json(report: EvaluationReport) -> str:
    """Everything but the bootstrap samples, as JSON; what is not known is null."""
    body = {
        "experts": report.experts,
        "questions": report.questions,
        "best_single": report.best_single,
        "fingerprint": report.fingerprint,
        "settings": report.settings,
        "rows": [asdict(row) for row in report.rows],
        "calibration": {name: asdict(value) for name, value in report.calibration.items()},
        "latency": {name: asdict(value) for name, value in report.latency.items()},
    }
    return json.dumps(_plain(body), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return what JSON can hold; a figure that is not a number, or infinite, becomes null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)
