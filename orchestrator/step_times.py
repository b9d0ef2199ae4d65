"""How much of a long piece of work is done, by the time that its steps have taken so far."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence


class StepTimes:
    """Times the steps of work whose kinds of step repeat, such as the fits of each split.

    A step is expected to take the mean time of the steps of its kind. If there were none, its time follows
    from its weight and the pace so far.
    """

    def __init__(
        self, steps: Sequence[tuple[str, float]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the kind and the weight of every step, in order."""
        self._steps, self._clock = tuple(steps), clock
        self._begun: int = 0
        self._began_s = clock()
        self._took_s: defaultdict[str, list[float]] = defaultdict(list)

    def begin(self) -> float:
        """Begin the next step; return the share of all the work that is done, by time (0 to 1)."""
        now_s = self._clock()
        if self._begun:
            self._took_s[self._steps[self._begun - 1][0]].append(now_s - self._began_s)
        self._began_s = now_s
        done = self._steps[: self._begun]
        spent_s = sum(map(sum, self._took_s.values()))
        left_s = self._expect_s(self._steps[self._begun :], spent_s, sum(weight for _, weight in done))
        self._begun += 1
        return spent_s / (spent_s + left_s) if spent_s else 0.0

    def _expect_s(self, steps: Sequence[tuple[str, float]], spent_s: float, weight_done: float) -> float:
        pace = spent_s / weight_done if weight_done else 0.0
        return sum(
            sum(took) / len(took) if (took := self._took_s.get(kind)) else weight * pace
            for kind, weight in steps
        )
