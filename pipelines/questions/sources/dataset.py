"""A file, a folder or a public set as a source of questions."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.text.splits import frozen_split
from pipelines.questions.brief import allot, weigh_domains
from pipelines.questions.loading.load import load_questions
from pipelines.questions.sources.base import Desk, Made, QuestionSettings, Request, SetAside
from warehouse import QUESTIONS


def open_dataset(settings: QuestionSettings, desk: Desk) -> DatasetSource | None:
    """The file, folder or data set that is named, read.

    Raises:
        InputError: there is none, or it holds no questions.
    """
    if settings.source is None:
        return None
    source = DatasetSource(settings.source, limit=settings.limit, seed=settings.seed)
    _ = source.questions
    return source


class DatasetSource:
    """A file, a folder or a public set; each round takes questions that were not taken yet."""

    share = 1.0
    asks_experts = False
    may_repeat = True  # a person's own file may have been imported before

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

    @property
    def domain_count(self) -> int:
        """Domains of its questions."""
        return len(set(self.questions["domain"].to_pylist()))

    def set_aside(self) -> SetAside:
        """The fifth of its questions that is not learned from, by the hash of the prompt."""
        return SetAside(self.questions.filter(pa.array(self._is_frozen)), self.questions.num_rows)

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
