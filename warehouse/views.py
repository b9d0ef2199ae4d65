"""DuckDB over the warehouse: views, never the only copy of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from warehouse.store import Warehouse

#: Graded answers beside their questions, for the newest version of each expert only: scores of two prompts
#: or two model revisions are never mixed.
OUTCOMES_VIEW = """
create view outcomes as
with current as (
    select expert, arg_max(expert_version, created_at) as expert_version from answers group by expert
)
select
    a.question_id, q.source, q.domain, q.subject, q.kind, q.difficulty, a.expert, a.expert_version,
    a.choice, a.score, a.prompt_tokens, a.completion_tokens, a.cost_usd, a.latency_s, a.error,
    a.round, a.created_at
from answers a
join current using (expert, expert_version)
join questions q using (question_id)
"""


def open_connection(warehouse: Warehouse) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory with the views questions, answers, decisions and outcomes.

    The tables are pyarrow datasets, so local disks and object stores take the same path and DuckDB needs no
    extension. Use one connection per thread.
    """
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    for table_name in ("questions", "answers", "decisions"):
        connection.register(f"{table_name}_files", warehouse.dataset(table_name))
        connection.execute(f"create view {table_name} as select * from {table_name}_files")
    connection.execute(OUTCOMES_VIEW)
    return connection
