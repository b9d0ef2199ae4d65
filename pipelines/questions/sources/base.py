"""Sources of a round's questions behind one interface: generators, data sets; experts in expert_source.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.text.splits import frozen_split
from pipelines.questions.brief import Brief, allot, cells_of, weigh_cells, weigh_domains
from pipelines.questions.draft import Row
from pipelines.questions.duplicates import Refusal
from pipelines.questions.loading.load import load_questions
from pipelines.questions.make import make_cells, make_questions, select_generators
from warehouse import QUESTIONS


@dataclass(frozen=True)
class Request:
    """What is asked of a source."""

    count: int
    round: str
    seed: int
    exclude: frozenset[str] = frozenset()  # ids that are there already
    frozen: bool = False  # for the frozen evaluation set; else to learn from
    brief: Brief = field(default_factory=Brief)
    budget_usd: float | None = None  # that making them may cost, for sources that cost


@dataclass(frozen=True)
class Made:
    """What a source made of a request."""

    questions: pa.Table  # QUESTIONS rows, at most as many as asked for
    refusals: tuple[Refusal, ...] = ()  # what it made and did not pass on itself


class QuestionSource(Protocol):
    """Makes questions. The prompt's hash says which may be learned from and which are for evaluation alone
    (:func:`orchestrator.text.splits.frozen_split`), so no source can put one question on both sides.
    """

    name: str

    def make(self, request: Request) -> Made:
        """Return up to ``request.count`` questions, where the brief says they teach most."""
        ...


def is_frozen(row: Row) -> bool:
    """Tell whether a question's prompt falls to the part that no router is trained on."""
    return bool(len(frozen_split([row["prompt"]]).test))


class GeneratorSource:
    """The registered generators, aimed at kinds and levels of question by the brief."""

    name = "generators"

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


class DatasetSource:
    """A file, a folder or a public set; each round takes questions that were not taken yet."""

    def __init__(self, path_or_name: str, *, limit: int | None = None, seed: int = 0) -> None:
        self.name = path_or_name
        self._limit, self._seed = limit, seed

    @cached_property
    def questions(self) -> pa.Table:
        """All of its questions, loaded once."""
        return load_questions(self.name, limit=self._limit, seed=self._seed)

    @cached_property
    def _is_frozen(self) -> NDArray[np.bool_]:
        prompts = self.questions["prompt"].to_pylist()
        frozen = np.zeros(len(prompts), bool)
        frozen[frozen_split(prompts).test] = True
        return frozen

    def set_aside(self) -> pa.Table:
        """The fifth of its questions that is not learned from, by the hash of the prompt."""
        return self.questions.filter(pa.array(self._is_frozen))

    def make(self, request: Request) -> Made:
        """Draw at random within domains, and among domains by the brief."""
        table = self.questions
        new = ~np.isin(np.array(table["question_id"].to_pylist()), list(request.exclude))
        candidates = np.flatnonzero(new & (self._is_frozen == request.frozen))
        rows = np.random.default_rng(request.seed).permutation(candidates)
        domains = np.array(table["domain"].to_pylist())[rows]
        if request.brief.results and not request.frozen:
            shares = weigh_domains(set(domains.tolist()), request.brief)
            quota = dict(
                zip(shares, allot(np.array(list(shares.values())), request.count).tolist(), strict=True)
            )
            first, place = np.zeros(len(rows), bool), Counter[str]()
            for i, domain in enumerate(domains.tolist()):
                first[i] = place[domain] < quota[domain]
                place[domain] += 1
            rows = np.concatenate([rows[first], rows[~first]])
        taken = table.take(pa.array(np.sort(rows[: request.count])))
        rounds = pa.repeat(pa.scalar(request.round), taken.num_rows)
        return Made(taken.set_column(taken.schema.get_field_index("round"), QUESTIONS.field("round"), rounds))


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


def concat_unique(tables: Sequence[pa.Table]) -> pa.Table:
    """Put QUESTIONS tables one below the other, each id once."""
    joined = pa.concat_tables(tables)
    first = pa.table({"id": joined["question_id"], "row": np.arange(joined.num_rows)})
    rows = first.group_by("id", use_threads=False).aggregate([("row", "min")])["row_min"]
    return joined.take(rows.combine_chunks().take(pc.sort_indices(rows)))
