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
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

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
    filters: Filters = {"source": sources, "round": rounds}
    connection = warehouse.connect()
    # It cannot know how many rows the files have, and would keep all answers to look a few questions up in.
    connection.execute("set disabled_optimizers = 'join_order,build_side_probe_side'")
    candidates = _find_candidates(connection, warehouse, experts)
    questions = _read_questions(connection, warehouse, filters)
    # The answers are never held whole: their questions are listed, the cells come in blocks.
    shape = len(questions), len(candidates)
    cells = {name: np.full(shape, np.nan, kind) for name, kind in _MATRICES.items()}
    is_asked = np.zeros(shape, bool)
    connection.execute("set preserve_insertion_order = false")  # else blocks that came early wait
    for block in _select_cells(connection, rounds).to_arrow_reader(_BLOCK_ROWS):
        place = block["position"].to_numpy(), block["place"].to_numpy()
        is_asked[place] = True
        for name, matrix in cells.items():
            matrix[place] = block[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    names = tuple(candidates[place] for place in np.flatnonzero(is_asked.any(axis=0)))
    if not names or not all(_matching(names, pattern) for pattern in experts or ()):
        _refuse_absence(warehouse, experts, filters)
    if experts:
        names = match_names(names, experts)
    rows = np.flatnonzero(is_asked.any(axis=1))
    if len(rows) < len(questions) or names != candidates:
        questions = questions.take(rows)
        columns = np.array([candidates.index(name) for name in names])
        for name in _MATRICES:  # one after the other: two of one kind at most are held
            cells[name] = cells[name][np.ix_(rows, columns)]
    prompts, choices = (questions[name].to_pylist() for name in ("prompt", "choices"))
    return Outcomes(
        question_ids=_strings(questions["question_id"]),
        texts=tuple(router_text(*pair) for pair in zip(prompts, choices, strict=True)),
        prompts=tuple(prompts),
        sources=_strings(questions["source"]),
        domains=_strings(questions["domain"]),
        subjects=_strings(questions["subject"]),
        chance=np.array([1 / len(c) if c else 0.0 for c in choices], dtype=np.float32),
        experts=names,
        **cells,
    )


def _find_candidates(
    connection: DuckDBPyConnection, warehouse: Warehouse, experts: Sequence[str] | None
) -> tuple[str, ...]:
    """Name the experts that have answers, by name, and give their newest versions a table ``newest``."""
    from warehouse.views import find_newest  # here, because it loads DuckDB

    newest = find_newest(warehouse.dataset("answers")).sort_by("expert")
    if experts:
        wanted = {name for pattern in experts for name in _matching(newest["expert"].to_pylist(), pattern)}
        newest = newest.filter(pc.is_in(newest["expert"], value_set=pa.array(sorted(wanted), pa.string())))
    connection.register("newest", newest.append_column("place", pa.array(np.arange(len(newest)))))
    return tuple(newest["expert"].to_pylist())


def _read_questions(connection: DuckDBPyConnection, warehouse: Warehouse, filters: Filters) -> pa.Table:
    """Read the questions that may have answers, by id, and give their positions a table ``listed``."""
    columns = "question_id, prompt, choices, source, domain, subject"
    if sources := filters["source"]:  # a question may have been brought under several
        questions = connection.sql(
            f"select {columns} from questions"
            " where list_has_any(coalesce(sources, [source]), ?) order by question_id",
            params=[list(sources)],
        ).to_arrow_table()
    else:
        ids = connection.sql(
            "select distinct question_id from answers semi join newest using (expert, expert_version)"
            f" {_where_round(filters['round'])}"
        ).to_arrow_table()
        connection.register("asked", ids)
        # Files without one of them are not read: the digests of their keys say so.
        files = warehouse.files_with("questions", ids)
        connection.register("theirs", warehouse.table("questions").dataset(files))
        questions = connection.sql(
            f"select {columns} from theirs semi join asked using (question_id) order by question_id"
        ).to_arrow_table()
    positions = pa.array(np.arange(len(questions)))
    connection.register("listed", questions.select(["question_id"]).append_column("position", positions))
    return questions


def _select_cells(connection: DuckDBPyConnection, rounds: Sequence[str] | None) -> DuckDBPyRelation:
    """Select what goes into the matrices, by the positions of its question and its expert."""
    from warehouse.views import JUDGED

    values = ", ".join(f"a.{name}" for name in _MATRICES if name != "score")
    return connection.sql(
        f"with judged as ({JUDGED}) select position, place, coalesce(a.score, j.score) as score, {values}"
        " from answers a join listed using (question_id) join newest using (expert, expert_version)"
        " left join judged j on j.question_id = a.question_id and j.expert = a.expert"
        f" and j.expert_version = a.expert_version {_where_round(rounds)}"
    )


def _where_round(rounds: Sequence[str] | None) -> str:
    """Value by value: files of other rounds tell by their statistics that they have none of these."""
    named = ", ".join("'" + name.replace("'", "''") + "'" for name in rounds or ())
    return f"where round in ({named})" if named else ""


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.fill_null("").to_pylist(), dtype=str)


def _refuse_absence(warehouse: Warehouse, experts: Sequence[str] | None, filters: Filters) -> None:
    """Say which filter leaves no graded answer, or which expert has none that passes the filters."""
    connection = warehouse.connect()
    sources, rounds = (list(filters[name] or ()) for name in ("source", "round"))
    conditions = [
        *(["list_has_any(sources, $sources)"] if sources else []),
        *(["list_contains($rounds, round)"] if rounds else []),
    ]
    where = f"where {' and '.join(conditions)}" if conditions else ""
    parameters = {name: values for name, values in (("sources", sources), ("rounds", rounds)) if values}
    found = connection.sql(f"select distinct expert from outcomes {where} order by 1", params=parameters)
    names = [str(name) for (name,) in found.fetchall()]
    if not names:
        raise _name_empty_filter(connection, warehouse.url, filters)
    if conditions:
        _refuse_experts_elsewhere(connection, names, experts or (), filters)
    match_names(names, experts or ())


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
