"""Under which source and round questions stand: the last import says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schemas import fill_round, readable

if TYPE_CHECKING:
    from warehouse.manifest import ManifestEntry

#: What tells a question, and what it is filed under.
LABELS = ("question_id", "source", "round")
_LISTED = pa.list_(pa.string())


@dataclass(frozen=True)
class Filing:
    """What came of filing questions: how many were new, and how many were stored already.

    ``moved`` counts those of the stored that now stand under another source or round, by the source that they
    stood under before.
    """

    added: int
    known: int
    moved: dict[str, int]


@dataclass(frozen=True)
class FilingPlan:
    """One commit that files questions: rows of a new file, and the names of the files that it replaces."""

    rows: pa.Table
    replaced: tuple[str, ...]
    name_parts: tuple[str, ...]  # what the new file's name is made of
    filing: Filing


def plan_filing(
    stored: Iterable[tuple[ManifestEntry, pa.Table]],
    given: pa.Table,
    is_new: pa.ChunkedArray,
    keep_rounds: Collection[str],
) -> FilingPlan:
    """Plan how questions are filed; files of which no row changes stay.

    Args:
        stored: the files of the table, with their rows.
        given: QUESTIONS rows, each id once and each with a round.
        is_new: boolean [given], those that are not stored.
        keep_rounds: stored questions of these rounds stay in them.
    """
    replaced: list[str] = []
    fresh = given.filter(is_new)
    parts = [fresh.cast(readable(fresh.schema))]
    moved: Counter[str] = Counter()
    for entry, rows in stored:
        filed, differing = refile(fill_round(rows, entry.round), given, keep_rounds)
        if differing.num_rows:
            replaced.append(entry.name)
            parts.append(filed.cast(parts[0].schema))
            moved.update(differing["source"].to_pylist())
    # A name that was replaced once never counts again: a file that replaces is named by what and by labels.
    labels = [":".join(map(str, row.values())) for row in given.select(LABELS).to_pylist()]
    names = [*replaced, *labels] if replaced else fresh["question_id"].to_pylist()
    filing = Filing(fresh.num_rows, given.num_rows - fresh.num_rows, dict(moved.most_common()))
    return FilingPlan(pa.concat_tables(parts), tuple(sorted(replaced)), tuple(names), filing)


def refile(stored: pa.Table, given: pa.Table, keep_rounds: Collection[str]) -> tuple[pa.Table, pa.Table]:
    """Give stored questions the source and round that they are given now.

    Args:
        stored: QUESTIONS rows of one file, each with a round.
        given: QUESTIONS rows, each id once and each with a round.
        keep_rounds: stored questions of these rounds stay in them.

    Returns:
        The stored rows as they are to stand, and as they stood those of them that differ now.
    """
    place = pc.index_in(stored["question_id"], value_set=given["question_id"].combine_chunks())
    is_given = pc.is_valid(place)
    stays = pc.is_in(stored["round"], value_set=pa.array(list(keep_rounds), pa.string()))
    source = pc.if_else(is_given, given["source"].take(place), stored["source"])
    moves = pc.and_(is_given, pc.invert(stays))
    round = pc.if_else(moves, given["round"].take(place), stored["round"])
    is_elsewhere = pc.not_equal(source, stored["source"])
    differs = pc.or_(is_elsewhere, pc.not_equal(round, stored["round"]))
    sources = [
        list(dict.fromkeys([*(listed or [former]), now])) if elsewhere else listed
        for listed, former, now, elsewhere in zip(
            *(column.to_pylist() for column in (stored["sources"], stored["source"], source, is_elsewhere)),
            strict=True,
        )
    ]
    filed = stored
    for name, column in (("source", source), ("round", round), ("sources", pa.array(sources, _LISTED))):
        place_of = stored.schema.get_field_index(name)
        filed = filed.set_column(place_of, stored.schema.field(place_of), column)
    return filed, stored.filter(differs)
