"""A source of questions as somebody might add one: a file of its own, and a row in ``SOURCES``."""

from __future__ import annotations

import itertools

import pyarrow as pa

from pipelines.questions.draft import question_row
from pipelines.questions.sources.base import Desk, Made, QuestionSettings, Request, SetAside, is_frozen
from warehouse import QUESTIONS


def open_counting(settings: QuestionSettings, desk: Desk) -> CountingSource | None:
    """``--questions counting:STEP``."""
    kind, _, step = (settings.source or "").partition(":")
    return CountingSource(int(step)) if kind == "counting" else None


class CountingSource:
    """Asks what comes next when one counts in steps."""

    domain_count, share, asks_experts, may_repeat = 1, 1.0, False, False

    def __init__(self, step: int) -> None:
        self.name, self._step = f"counting:{step}", step

    def make(self, request: Request) -> Made:
        """Count on from the seed until there are questions enough."""
        rows = []
        for i in itertools.count(request.seed % 1000):
            if len(rows) == request.count:
                break
            row = question_row(
                prompt=f"Counting in steps of {self._step}, what comes after {i}?", choices=None,
                answer=str(i + self._step), kind="exact", source=self.name, domain="counting", subject=None,
                round=request.round,
            )  # fmt: skip
            if is_frozen(row) == request.frozen and row["question_id"] not in request.exclude:
                rows.append(row)
        return Made(pa.Table.from_pylist(rows, schema=QUESTIONS))

    def set_aside(self) -> SetAside | None:
        """Nothing: one can always count on."""
        return None
