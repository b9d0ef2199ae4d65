"""DuckDB over the warehouse: views, never the only copy of anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import duckdb

from warehouse.schemas import TABLES

if TYPE_CHECKING:
    import pyarrow.dataset as pads

#: Graded answers beside their questions, for the newest version of each expert only: scores of two prompts
#: or two model revisions are never mixed. What no rule could grade has the newest judgement's score.
OUTCOMES_VIEW = """
create view outcomes as
with current as (
    select expert, arg_max(expert_version, created_at) as expert_version from answers group by expert
),
judged as (
    select question_id, expert, expert_version, arg_max(score, created_at) as score,
        arg_max(grader, created_at) as grader
    from judgements group by question_id, expert, expert_version
)
select
    a.question_id, q.source, coalesce(q.sources, [q.source]) as sources, q.domain, q.subject, q.kind,
    q.difficulty, a.expert, a.expert_version,
    a.choice, coalesce(a.score, j.score) as score, coalesce(a.grader, j.grader) as grader,
    a.prompt_tokens, a.completion_tokens, a.cost_usd, a.latency_s, a.error, a.round, a.created_at
from answers a
join current using (expert, expert_version)
join questions q using (question_id)
left join judged j on j.question_id = a.question_id and j.expert = a.expert
    and j.expert_version = a.expert_version
"""

#: Routed requests: those of homes before there was ``traffic``, and of the traffic what a router decided.
DECISIONS_VIEW = """
create view decisions as
with scored as (
    select request_id, arg_max(score, created_at) as feedback_score
    from feedback where score is not null group by request_id
)
select * from decisions_files
union all by name
select
    t.request_id, t.router_version, t.experts, t.predicted_success, t.predicted_cost_usd, t.multiplier,
    t.expert, [name for name in t.experts if name <> t.chosen] as fallbacks, t.cost_usd, t.latency_s,
    t.key_id, s.feedback_score, t.round, t.created_at
from traffic t left join scored s using (request_id)
where t.router_version is not null
"""


def open_connection(dataset_of: Callable[[str], pads.Dataset]) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory with a view of each table, and outcomes; ``decisions`` takes in the traffic.

    The tables are pyarrow datasets, so local disks and object stores take the same path and DuckDB needs no
    extension. Use one connection per thread.

    Args:
        dataset_of: gives a table's dataset by its name.
    """
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    for table_name in TABLES:
        connection.register(f"{table_name}_files", dataset_of(table_name))
        if table_name != "decisions":
            connection.execute(f"create view {table_name} as select * from {table_name}_files")
    connection.execute(OUTCOMES_VIEW)
    connection.execute(DECISIONS_VIEW)
    return connection
