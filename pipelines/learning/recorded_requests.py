"""Recorded requests, oldest first, with what people said of them: columns out of the warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse import Warehouse

#: Of graders judges alone count: their scores are set beside people's, which other graders hand on.
#: What shadow answers were asked for, the question of each request's own.
_REQUESTS = """
with demonstrated as (
    select request_id, arg_max(demonstration, (created_at, feedback_id)) as demonstration
    from said where demonstration is not null group by request_id
),
judged as (
    select request_id, expert, arg_max(score, (created_at, labeller)) as score
    from labels where labeller like 'judge:%' group by request_id, expert
),
learned as (
    select distinct r.text_hash from questions q join traffic r on q.parent_id = r.request_id
    where q.source = 'traffic'
)
select t.*, r.score as feedback, d.demonstration, j.score as judged, l.text_hash is not null as is_learned
from traffic t left join ratings r using (request_id) left join demonstrated d using (request_id)
left join judged j on j.request_id = t.request_id and j.expert = t.expert
left join learned l using (text_hash)
where t.role <> 'shadow' and ($since is null or t.created_at >= $since)
order by t.created_at, t.request_id
"""


@dataclass(frozen=True)
class RecordedRequests:
    """``n`` requests that were answered, in the order of time, and ``m`` experts.

    Attributes:
        rows: columns of TRAFFIC [n].
        experts: [m] all that any request's router knew.
        feedback: [n] in [0, 1], what users said of the answer; NaN: nothing.
        demonstrations: [n] the answer as it should have been; None: nobody said.
        judged: [n] in [0, 1], a judge's score of the served answer; NaN: none.
        is_learned: [n] whether it was asked again before.
        success_hat, cost_hat: [n, m] what was forecast; NaN: nothing, or the expert was not allowed.
    """

    rows: pa.Table
    experts: tuple[str, ...]
    feedback: NDArray[np.float64]
    demonstrations: tuple[str | None, ...]
    judged: NDArray[np.float64]
    is_learned: NDArray[np.bool_]
    success_hat: NDArray[np.float64]
    cost_hat: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def column(self, name: str) -> list[object]:
        """A column of the rows as Python values."""
        return list(self.rows[name].to_pylist())

    def figures(self, name: str) -> NDArray[np.float64]:
        """A column of numbers; NaN where there is none."""
        return _numbers(self.rows, name)

    def of_expert(self, matrix: NDArray[np.float64], column: str = "expert") -> NDArray[np.float64]:
        """What a matrix [n, m] says of the expert in a column of the rows: [n]."""
        place = np.array([self._place(name) for name in self.rows[column].to_pylist()], int)
        known = place >= 0
        found = np.full(len(self), np.nan)
        found[known] = matrix[known, place[known]]
        return found

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> RecordedRequests:
        """Return some of the requests."""
        kept = np.flatnonzero(index) if index.dtype == bool else index
        return RecordedRequests(
            self.rows.take(pa.array(kept)), self.experts, self.feedback[kept],
            tuple(self.demonstrations[i] for i in kept), self.judged[kept], self.is_learned[kept],
            self.success_hat[kept], self.cost_hat[kept],
        )  # fmt: skip

    def _place(self, name: str | None) -> int:
        return self.experts.index(name) if name in self.experts else -1


def read_requests(warehouse: Warehouse, *, since: datetime | None = None) -> RecordedRequests:
    """Read what was served since a moment; the decisions of challengers that nobody followed are left out."""
    with warehouse.connect() as connection:
        table = connection.sql(_REQUESTS, params={"since": since}).to_arrow_table()
    named = table["experts"].to_pylist()
    experts = tuple(sorted({name for own in named for name in own or ()}))
    place = {name: j for j, name in enumerate(experts)}
    return RecordedRequests(
        table.drop_columns(["feedback", "demonstration", "judged", "is_learned"]),
        experts,
        _numbers(table, "feedback"),
        tuple(table["demonstration"].to_pylist()),
        _numbers(table, "judged"),
        np.array(table["is_learned"].to_pylist(), bool),
        _matrix(named, table["predicted_success"].to_pylist(), place),
        _matrix(named, table["predicted_cost_usd"].to_pylist(), place),
    )


def embeddings_of(
    requests: RecordedRequests, embedder: str | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which requests have an embedding, of this embedder or the commonest: mask [n], and [k, d]."""
    names = np.array([str(name) for name in requests.column("embedder")])
    held: list[list[float]] = [vector or [] for vector in requests.rows["embedding"].to_pylist()]
    width = np.array([len(vector) for vector in held], int)
    has = width > 0
    if embedder is not None:
        has &= names == embedder
    for values in (names, width):
        if has.any():
            kinds, counts = np.unique(values[has], return_counts=True)
            has &= values == kinds[counts.argmax()]
    if not has.any():
        return has, np.empty((0, 0), np.float32)
    return has, np.array([held[i] for i in np.flatnonzero(has)], np.float32)


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _matrix(
    named: Sequence[Sequence[str] | None], values: Sequence[Sequence[float] | None], place: dict[str, int]
) -> NDArray[np.float64]:
    found = np.full((len(named), len(place)), np.nan)
    for i, (names, own) in enumerate(zip(named, values, strict=True)):
        for name, value in zip(names or (), own or (), strict=False):
            found[i, place[name]] = np.nan if value is None else value
    return found
