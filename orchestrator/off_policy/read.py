"""Read traffic and its ratings by people, judges and graders from the warehouse, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.off_policy.logged import LoggedTraffic, Requests
from warehouse import InputError, NotReadyError, Warehouse

Ratings = Literal["both", "feedback", "judge"]
Floats = NDArray[np.float64]

#: Any grader of the answer that was given counts, of several the last: a request has one reward.
_TRAFFIC = """
with judged as (
    select request_id, expert, arg_max(score, (created_at, labeller)) as score, max(created_at) as created_at
    from labels where kind = 'grader' group by request_id, expert
)
select t.request_id, t.created_at, coalesce(t.router_version, '') as router_version, t.role, t.canary_share,
    coalesce(t.canary, t.role = 'challenger') as canary, coalesce(t.preset, '') as preset, t.multiplier,
    t.experts, t.predicted_success, t.predicted_cost_usd, t.propensities, t.chosen, t.cost_usd,
    coalesce(t.key_id, '') as key_id, coalesce(t.task, '') as task, coalesce(t.form, '') as form,
    coalesce(t.conversation_hash, t.text_hash, t.request_id) as unit, coalesce(t.embedder, '') as embedder,
    {vectors}, r.score as feedback, r.created_at as feedback_at, j.score as judged, j.created_at as judged_at
from traffic t
left join ratings r using (request_id)
left join judged j on j.request_id = t.request_id and j.expert = t.expert
where t.role in ('champion', 'challenger') and len(coalesce(t.asked, [])) <= 1
    and t.cost_usd is not null and t.propensities[list_position(t.experts, t.chosen)] > 0
    and ($since is null or t.created_at >= $since) and ($until is null or t.created_at < $until)
qualify row_number() over (order by t.created_at desc, t.request_id desc) <= $most
order by t.created_at, t.request_id
"""


def read_traffic(
    warehouse: Warehouse,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    ratings: Ratings = "both",
    experts: Sequence[str] = (),
    most: int = 100_000,
    with_vectors: bool = True,
) -> LoggedTraffic:
    """Read the routed requests that a single expert answered, oldest first.

    Requests that named their expert, decisions that were not acted on, and answers for which several experts
    were asked are left out: the router did not choose with known propensities there. People's ratings take
    precedence over those of judges and graders.

    Args:
        warehouse: with the tables traffic, feedback, questions, answers and judgements.
        since: beginning of the period.
        until: end of the period, exclusive.
        ratings: whose ratings count.
        experts: experts of the routers to be evaluated; they get columns even if no request could have
            asked them.
        most: maximum number of requests, the newest ones.
        with_vectors: also read the embeddings, which versions need to decide again.

    Raises:
        NotReadyError: nothing was recorded.
        InputError: unknown ratings.
    """
    if ratings not in get_args(Ratings):
        raise InputError(
            f"unknown ratings {ratings!r}", where="--ratings", fix=f"use {', '.join(get_args(Ratings))}"
        )
    with warehouse.connect() as connection:
        asked = {"since": since, "until": until, "most": most}
        held = (
            "t.embedding, t.surface"
            if with_vectors
            else "null::float[] as embedding, null::float[] as surface"
        )
        rows = connection.sql(_TRAFFIC.format(vectors=held), params=asked).to_arrow_table()
    if not rows.num_rows:
        raise NotReadyError(
            "no routed request was recorded" + (f" since {since:%Y-%m-%d %H:%M}" if since else ""),
            where=warehouse.url,
            fix="serve with `--record features`, or choose an earlier --since",
        )
    return _logged(rows, ratings, experts)


def _logged(rows: pa.Table, ratings: Ratings, more: Sequence[str]) -> LoggedTraffic:
    lists = rows["experts"].combine_chunks()
    row = pc.list_parent_indices(lists).to_numpy()
    names = pc.list_flatten(lists)
    experts = tuple(dict.fromkeys([*sorted(pc.unique(names).to_pylist()), *more]))
    order = pa.array(experts)
    column = pc.index_in(names, value_set=order).to_numpy()
    shape = (rows.num_rows, len(experts))

    def matrix(name: str, empty: float) -> Floats:
        cells = np.full(shape, empty)
        values = pc.list_flatten(rows[name].combine_chunks())
        if len(values) != len(row):
            raise InputError(f"{name} has another length than experts", where="table traffic")
        cells[row, column] = _floats(values)
        return cells

    propensity = matrix("propensities", 0.0)
    propensity /= np.maximum(propensity.sum(axis=1, keepdims=True), 1e-300)  # of rounding
    allowed = np.zeros(shape, bool)
    allowed[row, column] = True
    for name in more:  # an expert that no router knew yet: nothing says that it may not answer
        place = experts.index(name)
        if not allowed[:, place].any():
            allowed[:, place] = True
    chosen = pc.index_in(rows["chosen"].combine_chunks(), value_set=order).to_numpy()
    return LoggedTraffic.from_arrays(
        experts,
        chosen,
        propensity,
        _reward(rows, ratings),
        _floats(rows["cost_usd"]),
        matrix("predicted_success", np.nan),
        matrix("predicted_cost_usd", np.nan),
        allowed=allowed,
        unit=_strings(rows["unit"]),
        groups={
            "key": _strings(rows["key_id"]),
            "task": _strings(rows["task"]),
            "form": _strings(rows["form"]),
        },
        requests=Requests(
            request_id=_strings(rows["request_id"]),
            created_at=rows["created_at"].to_numpy(),
            router_version=_strings(rows["router_version"]),
            role=_strings(rows["role"]),
            canary_share=_floats(rows["canary_share"]),
            canary=rows["canary"].to_numpy(),
            preset=_strings(rows["preset"]),
            multiplier=_floats(rows["multiplier"]),
            rated_at=_rated_at(rows, ratings),
            embedder=_strings(rows["embedder"]),
            embedding=_vectors(rows["embedding"]),
            surface=_vectors(rows["surface"]),
        ),
    )


def _reward(rows: pa.Table, ratings: Ratings) -> Floats:
    feedback, judged = _floats(rows["feedback"]), _floats(rows["judged"])
    if ratings == "feedback":
        return feedback
    return judged if ratings == "judge" else np.where(np.isfinite(feedback), feedback, judged)


def _rated_at(rows: pa.Table, ratings: Ratings) -> NDArray[np.datetime64]:
    feedback, judged = (rows[name].to_numpy() for name in ("feedback_at", "judged_at"))
    if ratings == "feedback":
        return np.asarray(feedback)
    return np.asarray(judged if ratings == "judge" else np.where(np.isnat(feedback), judged, feedback))


def _floats(column: Any) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), float)


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_pylist(), dtype=str)


def _vectors(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """A vector of float32 a row, or None."""
    held = np.empty(len(column), object)
    for place, vector in enumerate(column):
        values = vector.values
        held[place] = values.to_numpy(zero_copy_only=False) if values is not None and len(values) else None
    return held
