"""DuckDB over the warehouse: views, never the only copy of anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from warehouse.schemas import TABLES

if TYPE_CHECKING:
    import pyarrow.dataset as pads

#: The version of each expert that answered last.
NEWEST_VIEW = """
create view newest_versions as
select expert, arg_max(expert_version, created_at) as expert_version from answers group by expert
"""

#: The newest judgement of each answer.
JUDGED = """
select question_id, expert, expert_version, arg_max(score, created_at) as score,
    arg_max(grader, created_at) as grader
from judgements group by question_id, expert, expert_version
"""

#: Graded answers beside their questions, for the newest version of each expert only: scores of two prompts
#: or two model revisions are never mixed. What no rule could grade has the newest judgement's score.
OUTCOMES_VIEW = f"""
create view outcomes as
with judged as ({JUDGED})
select
    a.question_id, q.source, coalesce(q.sources, [q.source]) as sources, q.domain, q.subject, q.kind,
    q.difficulty, a.expert, a.expert_version,
    a.choice, coalesce(a.score, j.score) as score, coalesce(a.grader, j.grader) as grader,
    a.prompt_tokens, a.completion_tokens, a.cost_usd, a.latency_s, a.error, a.round, a.created_at
from answers a
join newest_versions using (expert, expert_version)
join questions q using (question_id)
left join judged j on j.question_id = a.question_id and j.expert = a.expert
    and j.expert_version = a.expert_version
"""

#: Feedback, once for each request that it is about: what is said of a conversation is said of what went
#: before too, not of what came later. An author is a key at one source.
SAID_VIEW = """
create view said as
with about as (
    select f.feedback_id, t.request_id, t.expert, t.role from feedback f join traffic t using (request_id)
    union
    select f.feedback_id, t.request_id, t.expert, t.role
    from feedback f join traffic n using (request_id)
    join traffic t on t.conversation_hash = n.conversation_hash and t.created_at <= n.created_at
    where f.level = 'conversation'
)
select a.request_id, a.expert, coalesce(f.key_id, '') || '|' || f.source as author, f.source, f.score,
    f.demonstration, f.created_at, f.feedback_id
from about a join feedback f using (feedback_id) where a.role <> 'shadow'
"""

#: Scores in [0, 1] of answers to requests, of each author the last. Feedback is of the expert whose answer
#: was given; graders may have seen shadow answers of others. Of the served answer ``user@`` hands on what
#: users say: it counts only where they gave no score, but a demonstration. Which kind and labeller count,
#: the reader says: a router's worth takes any grader's last score where people gave none, drift and the
#: judge's calibration take judges alone, and a router learns from each labeller but ``pairs-served@``.
LABELS_VIEW = """
create view labels as
with graded as (
    select q.parent_id as request_id, j.expert, j.grader, j.score, j.created_at, j.expert_version
    from judgements j join questions q using (question_id) where q.source = 'traffic'
    union all
    select q.parent_id, a.expert, a.grader, a.score, a.created_at, a.expert_version
    from answers a join questions q using (question_id)
    where q.source = 'traffic' and a.grader is not null
)
select request_id, expert, 'feedback' as kind, 'feedback:' || source as labeller, author,
    greatest(0, least(1, arg_max(score, (created_at, feedback_id)))) as score, max(created_at) as created_at
from said where isfinite(score) group by request_id, expert, source, author
union all
select request_id, expert, 'grader', grader, grader,
    greatest(0, least(1, arg_max(score, (created_at, expert_version)))), max(created_at)
from graded
where isfinite(score) and not (
    starts_with(grader, 'user@')
    and (request_id, expert) in (select (request_id, expert) from said where isfinite(score))
)
group by request_id, expert, grader
"""

#: What people say of each request's answer: of several authors the mean.
RATINGS_VIEW = """
create view ratings as
select request_id, avg(score) as score, max(created_at) as created_at
from labels where kind = 'feedback' group by request_id
"""

#: Routed requests: those of homes before there was ``traffic``, and of the traffic what a router decided.
DECISIONS_VIEW = """
create view decisions as
select * from decisions_files
union all by name
select
    t.request_id, t.router_version, t.experts, t.predicted_success, t.predicted_cost_usd, t.multiplier,
    t.expert, [name for name in t.experts if name <> t.chosen] as fallbacks, t.cost_usd, t.latency_s,
    t.key_id, r.score::float as feedback_score, t.round, t.created_at
from traffic t left join ratings r using (request_id)
where t.router_version is not null
"""


def open_connection(dataset_of: Callable[[str], pads.Dataset]) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory with a view of each table, outcomes, and what was said of the traffic.

    ``decisions`` takes in the traffic.

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
    for view in (NEWEST_VIEW, OUTCOMES_VIEW, SAID_VIEW, LABELS_VIEW, RATINGS_VIEW, DECISIONS_VIEW):
        connection.execute(view)
    return connection


def find_newest(answers: pads.Dataset) -> pa.Table:
    """Return the version of each expert that answered last, as the view ``newest_versions`` does.

    Parts of files that hold one version of one expert tell it by their statistics. The answers are read of
    other parts alone.
    """
    import pyarrow.dataset as pads

    said: list[tuple[str, str, datetime]] = []
    unclear: list[pads.Fragment] = []
    for fragment in answers.get_fragments():
        if not isinstance(fragment, pads.ParquetFileFragment):
            continue  # there are no files
        for group in fragment.row_groups:
            told = group.statistics or {}
            expert, version = (_only_value(told.get(name)) for name in ("expert", "expert_version"))
            if expert is None or version is None or "created_at" not in told:
                unclear.append(fragment.subset(row_group_ids=[group.id]))
            else:
                said.append((expert, version, told["created_at"]["max"]))
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    schema = pa.schema([answers.schema.field(name) for name in ("expert", "expert_version", "created_at")])
    columns = zip(*said, strict=True) if said else [[], [], []]
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema
    )
    connection.register("said", table)
    connection.register(
        "unclear",
        pads.FileSystemDataset(unclear, answers.schema, unclear[0].format, answers.filesystem)
        if unclear
        else table,
    )
    return connection.sql(
        "select expert, arg_max(expert_version, created_at) as expert_version from"
        " (from said union all select expert, expert_version, created_at from unclear) group by expert"
    ).to_arrow_table()


def _only_value(told: dict[str, str] | None) -> str | None:
    """The value that all rows of a part have, if its statistics say that there is but one."""
    return told["min"] if told and told["min"] == told["max"] else None
