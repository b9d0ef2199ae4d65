"""The last report on the traffic, as plain JSON in the home: for doctor and the endpoint's figures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FILE = "traffic/report.json"


@dataclass(frozen=True)
class KeptReport:
    """What is read of it by others.

    Attributes:
        made_at: when.
        complaints: who, what is beyond a threshold, and what to do.
        figures: name of the metric, labels, value.
        reasons: why learning is worth its price; none where nothing has drifted.
    """

    made_at: datetime
    complaints: tuple[tuple[str, str, str], ...]
    figures: tuple[tuple[str, dict[str, str], float], ...]
    reasons: tuple[str, ...] = ()


def write_report(home: Path, content: Mapping[str, Any]) -> None:
    """Write a report with the fields of :class:`KeptReport` and any others, whole or not at all."""
    path = home / FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    beside.replace(path)


def read_report(home: Path) -> KeptReport | None:
    """Return what was kept last; None where there is none, or it is not such a report."""
    try:
        content = json.loads((home / FILE).read_text(encoding="utf-8"))
        return KeptReport(
            datetime.fromisoformat(content["made_at"]),
            tuple((str(one["who"]), str(one["what"]), str(one["fix"])) for one in content["complaints"]),
            tuple(
                (str(name), {str(key): str(own) for key, own in labels.items()}, float(value))
                for name, labels, value in content["figures"]
            ),
            tuple(str(one) for one in content.get("reasons", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
