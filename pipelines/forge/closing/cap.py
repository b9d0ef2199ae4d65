"""One cap of time and money over all that closing a gap takes, kept over kills."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

from warehouse import InfeasibleError, InputError

WRITE_EVERY_S = 2.0  # a kill loses at most this much of what was used, and what was done since the last sign


@dataclass(frozen=True)
class Cap:
    """What closing a gap may take in all, earlier runs of it included.

    Attributes:
        budget_usd: of answers and of the machine's hours; None: no limit.
        minutes: of the clock while it runs; None: no limit.
        usd_per_hour: price of the machine.
    """

    budget_usd: float | None = None
    minutes: float | None = None
    usd_per_hour: float = 0.10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"must be a number of at least 0, not {value}", where=name)


class Meter:
    """Counts what was used of a cap, in a file that is written as time goes by.

    Args:
        file: kept between runs; made on first use.
        cap: what may be used.
    """

    def __init__(self, file: Path, cap: Cap) -> None:
        self._file, self._cap = file, cap
        self._before_s = _read(file)
        self._started = self._written = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Time used, earlier runs included."""
        return self._before_s + time.monotonic() - self._started

    def spent_usd(self, asked_usd: float) -> float:
        """Money used: the machine's hours, and what answers have cost."""
        return self.spent_s / 3600 * self._cap.usd_per_hour + asked_usd

    def left_usd(self, asked_usd: float, *, work_s: float = 0.0) -> float | None:
        """What is left for answers if ``work_s`` seconds of the machine are still to come; None: no limit."""
        if self._cap.budget_usd is None:
            return None
        hours = (self.spent_s + work_s) / 3600
        return max(0.0, self._cap.budget_usd - hours * self._cap.usd_per_hour - asked_usd)

    def tick(self) -> None:
        """Note that time has passed; called wherever something happened.

        Raises:
            InfeasibleError: the time is used up; what was done is kept.
        """
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self.save()
        self.check("", "", work_s=0.0, usd=0.0, asked_usd=0.0)

    def check(self, what: str, where: str, *, work_s: float, usd: float, asked_usd: float) -> None:
        """See that the cap covers what is to come.

        Args:
            what: is to come.
            where: of the gap.
            work_s: seconds that it is expected to take.
            usd: that its answers are expected to cost.
            asked_usd: that answers have cost so far.

        Raises:
            InfeasibleError: it does not, with both figures.
        """
        minutes, budget = self._cap.minutes, self._cap.budget_usd
        coming = f" and {what} takes about {work_s / 60:.1f} more" if what else ""
        if minutes is not None and self.spent_s + work_s > 60 * minutes:
            raise InfeasibleError(
                f"{minutes:g} minutes do not suffice: {self.spent_s / 60:.1f} are used{coming}",
                where=where or "--minutes",
                fix="run the same command with more --minutes; it goes on from there",
            )
        total = self.spent_usd(asked_usd) + work_s / 3600 * self._cap.usd_per_hour + usd
        if budget is not None and total > budget:
            raise InfeasibleError(
                f"{budget:.6g} USD do not suffice: {self.spent_usd(asked_usd):.6g} are used"
                + (f", {what} brings it to about {total:.6g}" if what else ""),
                where=where or "--budget-usd",
                fix="run the same command with a larger --budget-usd; it goes on from there",
            )

    def save(self) -> None:
        """Write what was used."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".tmp")
        beside.write_text(json.dumps({"seconds": self.spent_s}), encoding="utf-8")
        beside.replace(self._file)
        self._written = time.monotonic()


def _read(file: Path) -> float:
    if not file.is_file():
        return 0.0
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "not the count of a gap's time", where=str(file), fix="delete it to count anew"
        ) from error
