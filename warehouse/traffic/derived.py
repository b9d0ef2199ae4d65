"""What else derives from recorded requests, in the tables: found by their ids, and taken out.

A request leaves a row of ``traffic``. What was said of it are rows of ``feedback``. Asked again in the
shadow it is a question of the source ``traffic`` with the request in ``parent_id``, with answers and
judgements; what was made from such a question has that one's id there. Judges' replies name questions that no
table holds: in the rounds concerned they lose their words and keep what they cost.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.store import Warehouse
from warehouse.traffic.selection import Selection

SOURCE = "traffic"
_SHADOW = ":shadow"  # ends the id of what a challenger decided beside
_SERVED = "request:"  # begins the run of an answer that was served


@dataclass(frozen=True)
class Derived:
    """What derives from some requests: their ids, their questions', and the rounds that asked these."""

    request_ids: frozenset[str]
    question_ids: frozenset[str] = frozenset()
    rounds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Removed:
    """How many rows of each table are gone, and how many replies of judges lost their words and stay."""

    rows: dict[str, int]
    blanked: int


def find_requests(warehouse: Warehouse, selection: Selection) -> set[str]:
    """Return the ids of the recorded requests that are meant: of the traffic, and of what was said of it."""
    tables = ["traffic"]
    if selection.user_hash is None:  # the others do not say which user's a request is
        tables += ["feedback", "decisions"]
    found: set[str] = set()
    for table in tables:
        rows = warehouse.dataset(table).to_table(columns=["request_id"], filter=_filter_of(selection))
        found |= {name.removesuffix(_SHADOW) for name in rows["request_id"].to_pylist()}
    return found


def _filter_of(selection: Selection) -> pc.Expression:
    conditions = []
    if selection.request_ids:
        named = [*selection.request_ids, *(name + _SHADOW for name in selection.request_ids)]
        conditions.append(pc.field("request_id").isin(named))
    if selection.key_id is not None:
        conditions.append(pc.field("key_id") == selection.key_id)
    if selection.user_hash is not None:
        conditions.append(pc.field("user_hash") == selection.user_hash)
    if selection.before is not None:
        moment = pa.scalar(selection.before, pa.timestamp("us", tz="UTC"))
        conditions.append(pc.field("created_at") < moment)
    return functools.reduce(operator.and_, conditions, pc.scalar(True))


def find_derived(warehouse: Warehouse, request_ids: Collection[str]) -> Derived:
    """Return what derives from these requests, now."""
    return _with_rounds(warehouse, frozenset(request_ids), _made_from(warehouse, request_ids))


def find_old_questions(warehouse: Warehouse, before: datetime) -> Derived:
    """Return the questions that were made of the traffic before a moment, and what was made from them."""
    moment = pa.scalar(before, pa.timestamp("us", tz="UTC"))
    is_old = (pc.field("source") == SOURCE) & (pc.field("created_at") < moment)
    rows = warehouse.dataset("questions").to_table(columns=["question_id"], filter=is_old)
    old = set(rows["question_id"].to_pylist())
    return _with_rounds(warehouse, frozenset(), old | _made_from(warehouse, old))


def remove_derived(warehouse: Warehouse, derived: Derived) -> Removed:
    """Take all of it out of the tables, for good; doing it again does nothing, or the rest."""
    named = [*derived.request_ids, *(name + _SHADOW for name in derived.request_ids)]
    requests, questions = pa.array(named, pa.string()), pa.array(list(derived.question_ids), pa.string())
    runs = pa.array([_SERVED + name for name in derived.request_ids], pa.string())
    # Questions last: without them nobody would know which answers are theirs.
    rows = {
        **{name: _remove(warehouse, name, "request_id", requests) for name in ("feedback", "decisions")},
        "judgements": _remove(warehouse, "judgements", "question_id", questions),
        "answers": _remove(warehouse, "answers", "question_id", questions)
        + _remove(warehouse, "answers", "run_id", runs),
        "questions": _remove(warehouse, "questions", "question_id", questions),
        "traffic": _remove(warehouse, "traffic", "request_id", requests),
    }
    return Removed(rows, _blank_judges(warehouse, derived.rounds) if derived.rounds else 0)


def take_out_old_words(warehouse: Warehouse, before: datetime) -> int:
    """Take out what is from before a moment: comments and demonstrations, and answers that were served.

    The scores of feedback stay. Returns how many rows that were.
    """
    moment = pa.scalar(before, pa.timestamp("us", tz="UTC"))

    def is_served(rows: pa.Table) -> pa.ChunkedArray:
        return pc.and_(pc.less(rows["created_at"], moment), pc.starts_with(rows["run_id"], _SERVED))

    said = warehouse.take_out(
        "feedback",
        lambda rows: pc.less(rows["created_at"], moment),
        by=["created_at"],
        words=["comment", "demonstration"],
    )
    return said + warehouse.take_out("answers", is_served, by=["created_at", "run_id"])


def _remove(warehouse: Warehouse, table: str, by: str, values: pa.Array) -> int:
    return warehouse.take_out(table, lambda rows: pc.is_in(rows[by], value_set=values), by=[by])


def _blank_judges(warehouse: Warehouse, rounds: frozenset[str]) -> int:
    """Take the words out of answers in these rounds to questions that no table holds: replies of judges."""
    known = warehouse.scan("questions", ["question_id"])["question_id"].combine_chunks()
    named = pa.array(sorted(rounds), pa.string())

    def find(rows: pa.Table) -> pa.ChunkedArray:
        is_known = pc.is_in(rows["question_id"], value_set=known)
        return pc.and_(pc.is_in(rows["round"], value_set=named), pc.invert(is_known))

    return warehouse.take_out("answers", find, by=["question_id", "round"], words=["text"])


def _with_rounds(warehouse: Warehouse, request_ids: frozenset[str], questions: set[str]) -> Derived:
    if not questions:
        return Derived(request_ids)
    wanted, rounds = pa.array(sorted(questions), pa.string()), set()
    for table in ("answers", "judgements"):
        rows = warehouse.scan(table, ["question_id", "round"])
        rounds |= set(rows.filter(pc.is_in(rows["question_id"], value_set=wanted))["round"].to_pylist())
    return Derived(request_ids, frozenset(questions), frozenset(filter(None, rounds)))


def _made_from(warehouse: Warehouse, parents: Collection[str]) -> set[str]:
    """Questions that were made from these requests or questions, and what was made from those."""
    found: set[str] = set()
    latest = set(parents)
    if not latest:
        return found
    has_parent = pc.is_valid(pc.field("parent_id"))
    rows = warehouse.dataset("questions").to_table(["question_id", "parent_id"], filter=has_parent)
    while latest:
        named = pa.array(sorted(latest), pa.string())
        children = rows.filter(pc.is_in(rows["parent_id"], value_set=named))["question_id"].to_pylist()
        latest = set(children) - found
        found |= latest
    return found
