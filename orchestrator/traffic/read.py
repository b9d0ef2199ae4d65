"""Read labels from the warehouse: scores by users and graders of answers to recorded requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.text.embedder import Embedder, weights_key
from orchestrator.text.queries import Queries
from orchestrator.traffic.bills import Bills
from orchestrator.traffic.labels import Audit, TrafficLabels
from orchestrator.traffic.reliability import GOLD
from warehouse import Warehouse

EXACT = ("choice@", "numeric@", "symbolic@", "exact@", "verified@", "form@")  # graders that are not mistaken

MOST_BILLS = 20_000  # of the newest answers: what costs were long ago says little

#: Every labeller counts for itself, but for what repeats its labels of others' answers: ``pairs-served@``.
_LABELS = """
with served as (
    select *, row_number() over (order by created_at, request_id) - 1 as position from traffic
    where role in ('champion', 'challenger', 'named')
)
select l.expert, l.labeller, l.score as label, s.position, s.embedding, s.surface,
    case when l.kind = 'feedback' and list_contains(s.experts, l.expert)
        then s.propensities[list_position(s.experts, l.expert)] end as propensity
from labels l join served s using (request_id)
where not starts_with(l.labeller, 'pairs-served@') and s.embedder = $embedder and len(s.embedding) = $width
    and ($since is null or s.created_at >= $since)
order by s.position, l.expert, l.labeller, l.author
"""

#: Those who were asked first and answered, newest last: whoever stood in for another was not chosen.
_BILLS = """
select expert, answer_cost_usd as cost_usd, embedding, surface,
    if(list_contains(experts, expert), propensities[list_position(experts, expert)], null) as propensity
from (
    select * from traffic where role in ('champion', 'challenger', 'named') and expert = chosen
        and answer_cost_usd is not null and embedder = $embedder and len(embedding) = $width
        and list_contains($experts, expert)
    order by created_at desc, request_id limit $most
) order by created_at, request_id
"""

#: What graders said of answers to questions that have an answer.
_AUDITS = """
select j.grader, sum(cast(a.score < 0.5 as int)), sum(if(a.score < 0.5, j.score, 0)),
    sum(cast(a.score >= 0.5 as int)), sum(if(a.score >= 0.5, j.score, 0))
from judgements j join answers a using (question_id, expert, expert_version)
join questions q using (question_id)
where q.source <> 'traffic' and q.kind <> 'judged' and a.score is not null and a.grader <> j.grader
group by j.grader
"""


def read_labels(
    warehouse: Warehouse, experts: Sequence[str], embedder: Embedder, *, since: datetime | None = None
) -> TrafficLabels:
    """Read all labels of these experts' answers, by time of request; may be empty.

    Requests embedded by another embedder are left out, as are labels that merely repeat another one.

    Args:
        warehouse: with the tables traffic, feedback, questions, answers and judgements.
        experts: the pool, in the order of the columns.
        embedder: embedder of the router that is to learn.
        since: beginning of the period.
    """
    key = weights_key(embedder.weights)
    with warehouse.connect() as connection:
        rows = connection.sql(
            _LABELS, params={"embedder": key, "width": embedder.dim, "since": since}
        ).to_arrow_table()
        audits = {
            str(name): Audit(*map(float, counts)) for name, *counts in connection.sql(_AUDITS).fetchall()
        }
    kept = pc.is_in(rows["expert"], value_set=pa.array(list(experts), pa.string()))
    rows = rows.filter(kept)
    names = [GOLD if str(name).startswith(EXACT) else str(name) for name in rows["labeller"].to_pylist()]
    labellers = tuple(dict.fromkeys(names))
    position = _numbers(rows, "position")
    served_at, first, row = np.unique(position, return_index=True, return_inverse=True)
    place = {name: j for j, name in enumerate(experts)}
    return TrafficLabels(
        queries=Queries(
            _vectors(rows["embedding"], first, embedder.dim),
            _vectors(rows["surface"], first),
            embedder.widths,
        ),
        served_at=served_at,
        experts=tuple(experts),
        row=row.ravel(),
        expert=np.array([place[name] for name in rows["expert"].to_pylist()], np.intp),
        label=_numbers(rows, "label"),
        labeller=np.array([labellers.index(name) for name in names], np.intp),
        labellers=labellers,
        propensity=_propensities(rows),
        audits=audits,
    )


def read_bills(warehouse: Warehouse, experts: Sequence[str], embedder: Embedder) -> Bills:
    """Read the costs of the newest answers of these experts, oldest first; may be empty.

    Args:
        warehouse: with the table traffic.
        experts: the pool, in the order of the columns.
        embedder: embedder of the router that is to learn.
    """
    wanted = {
        "embedder": weights_key(embedder.weights),
        "width": embedder.dim,
        "experts": list(experts),
        "most": MOST_BILLS,
    }
    with warehouse.connect() as connection:
        rows = connection.sql(_BILLS, params=wanted).to_arrow_table()
    everyone = np.arange(rows.num_rows)
    place = {name: j for j, name in enumerate(experts)}
    return Bills(
        queries=Queries(
            _vectors(rows["embedding"], everyone, embedder.dim),
            _vectors(rows["surface"], everyone),
            embedder.widths,
        ),
        experts=tuple(experts),
        expert=np.array([place[name] for name in rows["expert"].to_pylist()], np.intp),
        cost_usd=_numbers(rows, "cost_usd"),
        propensity=_propensities(rows),
    )


def _propensities(rows: pa.Table) -> NDArray[np.float64]:
    """1 where an answer was bought, and where its expert was not drawn but named, or stood in for another."""
    found = _numbers(rows, "propensity")
    return np.where(found > 0, found, 1.0)


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _vectors(
    column: pa.ChunkedArray, rows: NDArray[np.intp], width: int | None = None
) -> NDArray[np.float32]:
    held = column.take(pa.array(rows)).to_pylist()
    wide = (len(held[0]) if held else 0) if width is None else width
    return np.array(held, np.float32).reshape(len(held), wide)
