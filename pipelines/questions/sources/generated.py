"""The registered generators as a source of questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from pipelines.questions.brief import allot, cells_of, weigh_cells
from pipelines.questions.draft import Row
from pipelines.questions.make import make_cells, make_questions, select_generators
from pipelines.questions.sources.base import Desk, Made, QuestionSettings, Request, SetAside, is_frozen


def open_generators(settings: QuestionSettings, desk: Desk) -> GeneratorSource | None:
    """The generators of the domains wanted, where no file or data set is named."""
    return GeneratorSource(settings.domains) if settings.source is None else None


class GeneratorSource:
    """The registered generators, aimed at kinds and levels of question by the brief."""

    name = "generators"
    share = 1.0
    asks_experts = False
    may_repeat = False

    def __init__(self, domains: Sequence[str] | None = None) -> None:
        self._domains = domains
        self._generators = select_generators(domains)

    @property
    def domain_count(self) -> int:
        """Entries of the list of domains."""
        return len(self._generators)

    def make(self, request: Request) -> Made:
        """Draw from the generators; the frozen set is spread evenly."""

        def accept(row: Row) -> bool:
            return is_frozen(row) == request.frozen

        if request.frozen or not request.brief.results:
            per_domain = -(-request.count // len(self._generators))
            table = make_questions(
                self._domains,
                per_domain,
                request.seed,
                request.round,
                exclude=request.exclude,
                accept=accept,
                allow_fewer=True,
            )
            return Made(_interleave(table, request.count))
        cells = cells_of(self._generators)
        counts = allot(weigh_cells(cells, request.brief), request.count)
        wanted = {cell: int(count) for cell, count in zip(cells, counts, strict=True)}
        return Made(make_cells(wanted, request.seed, request.round, exclude=request.exclude, accept=accept))

    def set_aside(self) -> SetAside | None:
        """Nothing: there is no end to what generators make."""
        return None


def _interleave(questions: pa.Table, count: int) -> pa.Table:
    """The first ``count`` rows, taken from the domains in turn."""
    if questions.num_rows <= count:
        return questions
    place: Counter[str] = Counter()
    order = []
    for i, domain in enumerate(questions["domain"].to_pylist()):
        order.append((place[domain], i))
        place[domain] += 1
    kept = sorted(i for _, i in sorted(order)[:count])
    return questions.take(pa.array(kept, pa.int64()))
