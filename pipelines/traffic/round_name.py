"""How a round of learning is called."""

from __future__ import annotations

import re

from pipelines.selfplay.round_record import RoundFolder
from pipelines.traffic.settings import ROUND_PREFIX


def next_round(folder: RoundFolder) -> str:
    """The round of learning that was not finished, else the next one's name."""
    names = sorted(path.stem for path in folder.folder.glob(f"{ROUND_PREFIX}*.json"))
    numbers = [int(name[len(ROUND_PREFIX) :]) for name in names if re.fullmatch(rf"{ROUND_PREFIX}\d+", name)]
    for name in names:
        if "result" not in folder.record(name):
            return name
    return f"{ROUND_PREFIX}{max(numbers, default=-1) + 1:03d}"
