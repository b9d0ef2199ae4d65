"""The outcomes matrix: what each expert scored and cost on each question."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from warehouse.errors import InputError, NotReadyError
from warehouse.schemas import router_text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from warehouse.store import Warehouse

Filters = dict[str, Sequence[str] | None]  # column of the outcomes -> values that it may have


#: The matrices of the outcomes, by the column that they are made of.
_MATRICES: dict[str, type[np.floating[Any]]] = {
    "score": np.float32,
    "cost_usd": np.float64,
    "prompt_tokens": np.float32,
    "completion_tokens": np.float32,
    "latency_s": np.float32,
}
#: Answers that are handed over at a time.
_BLOCK_ROWS = 262_144


@dataclass(frozen=True)
class Outcomes:
    """Scores and costs of ``m`` experts on ``n`` questions; the table behind training, universes and reports.

    A cell is NaN where the expert was not asked or its answer failed. Missing is missing, never wrong.
    """

    question_ids: NDArray[np.str_]  # [n]
    texts: tuple[str, ...]  # [n] what the router reads: the prompt, then the choices one a line
    prompts: tuple[str, ...]  # [n] without the choices: what tells one question from another
    sources: NDArray[np.str_]  # [n]
    domains: NDArray[np.str_]  # [n]
    subjects: NDArray[np.str_]  # [n]
    chance: NDArray[np.float32]  # [n] score of a blind guess: 1 / choices, 0 for free-form
    experts: tuple[str, ...]  # [m]
    score: NDArray[np.float32]  # [n, m] in [0, 1]
    cost_usd: NDArray[np.float64]  # [n, m]
    prompt_tokens: NDArray[np.float32]  # [n, m]
    completion_tokens: NDArray[np.float32]  # [n, m]
    latency_s: NDArray[np.float32]  # [n, m]

    def __len__(self) -> int:
        return len(self.question_ids)

    def take(self, index: NDArray[Any]) -> Outcomes:
        """Return some of the questions: ``index`` holds positions, or is a boolean mask [n]."""
        positions = np.flatnonzero(index) if index.dtype == bool else np.asarray(index)
        changes: dict[str, Any] = {
            "texts": tuple(self.texts[i] for i in positions),
            "prompts": tuple(self.prompts[i] for i in positions),
        }
        for field in fields(self):
            if field.name not in (*changes, "experts"):
                changes[field.name] = getattr(self, field.name)[positions]
        return replace(self, **changes)

    def only(self, experts: Sequence[str]) -> Outcomes:
        """Return some of the experts, in the order given; each may be a name or a glob such as ``helm/*``.

        Questions stay, also those that none of these experts answered.

        Raises:
            InputError: a name or pattern matches no expert.
        """
        names = match_names(self.experts, experts)
        columns = [self.experts.index(name) for name in names]
        matrices: dict[str, Any] = {name: getattr(self, name)[:, columns] for name in _MATRICES}
        return replace(self, experts=names, **matrices)

    def answered(self, at_least: int = 1) -> Outcomes:
        """Return the questions that at least so many of the experts have a score for."""
        return self.take(np.isfinite(self.score).sum(axis=1) >= at_least)

    def fingerprint(self) -> str:
        """Hash (16 hex digits) of the questions, experts, scores and costs: names a training set."""
        digest = hashlib.sha256("\n".join([*self.question_ids, *self.experts]).encode())
        digest.update(np.ascontiguousarray(self.score).tobytes())
        digest.update(np.ascontiguousarray(self.cost_usd).tobytes())
        return digest.hexdigest()[:16]


def split_names(listed: str | Sequence[str] | None) -> list[str]:
    """The names in what a person lists by commas, in one text or several, blanks around them or not."""
    texts = [listed] if isinstance(listed, str) else listed or []
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def match_names(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Resolve names and globs against what there is, in the order wanted, each once.

    Raises:
        InputError: a name or pattern matches nothing.
    """
    found: dict[str, None] = {}
    for pattern in wanted:
        matches = _matching(available, pattern)
        if not matches:
            raise InputError(
                f"no expert matches {pattern!r}", fix=f"use names or globs of: {', '.join(sorted(available))}"
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)


def load_outcomes(
    warehouse: Warehouse,
    *,
    experts: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    rounds: Sequence[str] | None = None,
) -> Outcomes:
    """Load the outcomes matrix of the newest version of each expert.

    Args:
        warehouse: where the answers are.
        experts: names or globs to keep, in this order; all by default, by name.
        sources: question sources to keep (for example ``mmlu``): what was brought under one of them.
        rounds: rounds whose answers to keep.

    Raises:
        NotReadyError: there is no graded answer at all, or the filters leave none: the message names which.
        InputError: a name or glob of ``experts`` matches nobody.
    """
    connection = warehouse.connect()
    # Found once, from all answers, for the three queries that ask for it.
    connection.execute("create table newest as from newest_versions")
    connection.execute("drop view newest_versions")
    connection.execute("alter table newest rename to newest_versions")
    conditions: list[str] = []
    parameters: list[str | list[str]] = []
    if sources:  # a question may have been brought under several
        conditions.append("list_has_any(sources, ?)")
        parameters.append(list(sources))
    if rounds:
        # Value by value: files of other rounds tell by their statistics that they have none of these.
        conditions.append(f"round in ({', '.join('?' * len(rounds))})")
        parameters.extend(rounds)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    found = connection.sql(f"select distinct expert from outcomes {where} order by 1", params=parameters)
    names = tuple(str(name) for (name,) in found.fetchall())
    if not names:
        raise _name_empty_filter(connection, warehouse.url, {"source": sources, "round": rounds})
    if experts:
        if where:
            _refuse_experts_elsewhere(connection, names, experts, {"source": sources, "round": rounds})
        names = match_names(names, experts)
    # The answers are never held whole: their questions are listed, then the cells come in blocks.
    if experts:
        where = f"{where} {'and' if where else 'where'} list_contains(?, expert)"
        parameters.append(list(names))
    ids = (
        connection.sql(f"select distinct question_id from outcomes {where} order by 1", params=parameters)
        .to_arrow_table()["question_id"]
        .combine_chunks()
    )
    cells = {name: np.full((len(ids), len(names)), np.nan, kind) for name, kind in _MATRICES.items()}
    connection.execute("set preserve_insertion_order = false")  # else blocks that came early wait
    blocks = connection.sql(
        f"select question_id, expert, {', '.join(_MATRICES)} from outcomes {where}", params=parameters
    ).to_arrow_reader(_BLOCK_ROWS)
    columns = pa.array(names)
    for block in blocks:
        place = (
            pc.index_in(block["question_id"], value_set=ids).to_numpy(),
            pc.index_in(block["expert"], value_set=columns).to_numpy(),
        )
        for name, matrix in cells.items():
            matrix[place] = block[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    connection.execute("set preserve_insertion_order = true")
    connection.register("wanted_ids", pa.table({"question_id": ids, "position": np.arange(len(ids))}))
    questions = connection.sql(
        "select q.prompt, q.choices, q.source, q.domain, q.subject"
        " from questions q join wanted_ids using (question_id) order by position"
    ).to_arrow_table()
    prompts, choices = (questions[name].to_pylist() for name in ("prompt", "choices"))
    return Outcomes(
        question_ids=np.array(ids.to_pylist()),
        texts=tuple(router_text(*pair) for pair in zip(prompts, choices, strict=True)),
        prompts=tuple(prompts),
        sources=_strings(questions["source"]),
        domains=_strings(questions["domain"]),
        subjects=_strings(questions["subject"]),
        chance=np.array([1 / len(c) if c else 0.0 for c in choices], dtype=np.float32),
        experts=names,
        **cells,
    )


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.fill_null("").to_pylist(), dtype=str)


def _name_empty_filter(connection: DuckDBPyConnection, url: str, filters: Filters) -> NotReadyError:
    """Say which filter leaves no graded answer: none there at all, one of the filters, or all together."""
    there = {column: _distinct(connection, column) for column in filters}
    if not any(there.values()):
        return NotReadyError(
            "no answer has been graded yet",
            where=url,
            fix="run a round (`leeroo selfplay`) or `leeroo import recorded DIR` first",
        )
    for column, wanted in filters.items():
        if wanted and not set(wanted) & set(there[column]):
            return NotReadyError(
                f"no graded answer has the {column} {_listed(wanted)}",
                where=url,
                fix=f"the {column}s that have some are {_listed(there[column])}",
            )
    both = " and ".join(f"the {column} {_listed(wanted)}" for column, wanted in filters.items() if wanted)
    return NotReadyError(f"no graded answer has both {both}", where=url, fix="leave out one of these filters")


def _refuse_experts_elsewhere(
    connection: DuckDBPyConnection, names: Sequence[str], wanted: Sequence[str], filters: Filters
) -> None:
    """Refuse an expert that has graded answers, but none that pass the other filters."""
    everyone = _distinct(connection, "expert")
    for pattern in wanted:
        if not _matching(names, pattern) and (elsewhere := _matching(everyone, pattern)):
            passed = " and ".join(
                f"the {column} {_listed(values)}" for column, values in filters.items() if values
            )
            raise NotReadyError(
                f"{_listed(elsewhere)} has no graded answer with {passed}",
                where=f"experts, {pattern!r}",
                fix=f"leave it out, or the filter; experts with such answers: {_listed(names)}",
            )


def _matching(available: Sequence[str], pattern: str) -> list[str]:
    return [pattern] if pattern in available else fnmatch.filter(available, pattern)


def _distinct(connection: DuckDBPyConnection, column: str) -> list[str]:
    values = "unnest(sources)" if column == "source" else column
    rows = connection.sql(
        f"select distinct name from (select {values} as name from outcomes) where name is not null order by 1"
    )
    return [str(value) for (value,) in rows.fetchall()]


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
