"""What makes a round's questions, behind one interface, and what a run says about its questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.text.splits import frozen_split
from pipelines.questions.brief import Brief
from pipelines.questions.draft import Row
from pipelines.questions.duplicates import Refusal

if TYPE_CHECKING:
    from experts import ExpertSpec
    from warehouse import Warehouse


@dataclass(frozen=True)
class QuestionSettings:
    """Which questions a run makes, and how many."""

    source: str | None = None  # file, folder or data set; None: generators
    limit: int | None = None  # of the questions of a file or data set
    frozen: str | None = None  # file, folder or data set of the frozen set; None: as the others
    frozen_count: int = 80
    domains: tuple[str, ...] | None = None  # of the generators; None: their default
    per_domain: int = 40
    per_round: int = 0  # in all; 0: per_domain for each domain
    writer: str | None = None  # expert that writes questions for the gaps
    written_share: float = 0.25  # of a round's questions, at most
    seed: int = 0


@dataclass(frozen=True)
class Desk:
    """What a source that asks experts works with."""

    warehouse: Warehouse
    writer: ExpertSpec | None = None  # who writes, where the run has a writer
    validators: tuple[ExpertSpec, ...] = ()  # who must agree with it


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
    run_id: str = ""  # kept on the answers that making them takes


@dataclass(frozen=True)
class Made:
    """What a source made of a request."""

    questions: pa.Table  # QUESTIONS rows, at most as many as asked for
    refusals: tuple[Refusal, ...] = ()  # what it made and did not pass on itself


@dataclass(frozen=True)
class SetAside:
    """The part of a source's own questions that is never learned from."""

    questions: pa.Table
    total: int  # of how many


class QuestionSource(Protocol):
    """Makes questions. The prompt's hash says which may be learned from and which are for evaluation alone
    (:func:`orchestrator.text.splits.frozen_split`), so no source can put one question on both sides.
    """

    @property
    def name(self) -> str:
        """What the record of a frozen set says that it came from."""
        ...

    @property
    def domain_count(self) -> int:
        """How many domains a round's questions are spread over; 0 where the source does not know."""
        ...

    @property
    def share(self) -> float:
        """Of a round's questions, what it may make at most; from 0 to 1."""
        ...

    @property
    def asks_experts(self) -> bool:
        """Whether it asks experts where the brief names gaps, which costs and needs a Ray connection."""
        ...

    @property
    def may_repeat(self) -> bool:
        """Whether it may bring what is in the warehouse already, as long as no round has asked it."""
        ...

    def make(self, request: Request) -> Made:
        """Return up to ``request.count`` questions, where the brief says they teach most."""
        ...

    def set_aside(self) -> SetAside | None:
        """The part that is not learned from, by the hash of the prompt; None where there is no end to it."""
        ...


def is_frozen(row: Row) -> bool:
    """Tell whether a question's prompt falls to the part that no router is trained on."""
    return bool(len(frozen_split([row["prompt"]]).test))


def concat_unique(tables: Sequence[pa.Table]) -> pa.Table:
    """Put QUESTIONS tables one below the other, each id once."""
    joined = pa.concat_tables(tables)
    first = pa.table({"id": joined["question_id"], "row": np.arange(joined.num_rows)})
    rows = first.group_by("id", use_threads=False).aggregate([("row", "min")])["row_min"]
    return joined.take(rows.combine_chunks().take(pc.sort_indices(rows)))
