"""What experts have not answered yet: asked once, and handed down to all who work on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.answering.taking_in import take_in_journals
from warehouse import InputError, Warehouse, first_of_each

if TYPE_CHECKING:
    from experts import ExpertSpec


@dataclass(frozen=True)
class OpenWork:
    """Experts, the questions that each is given, and those of them that it has not answered.

    Attributes:
        specs: the experts.
        offered: by expert's name, rows of the questions table.
        todo: by expert's name, those of them that are open, each once; only experts with any.
    """

    specs: tuple[ExpertSpec, ...]
    offered: Mapping[str, pa.Table]
    todo: Mapping[str, pa.Table]

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return bool(self.todo)

    def of(self, specs: Sequence[ExpertSpec]) -> OpenWork:
        """Return the part of some of the experts."""
        names = [spec.name for spec in specs]
        return OpenWork(
            tuple(specs),
            {name: self.offered[name] for name in names},
            {name: self.todo[name] for name in names if name in self.todo},
        )


def find_open_work(
    warehouse: Warehouse, specs: Sequence[ExpertSpec], questions: pa.Table | Mapping[str, pa.Table]
) -> OpenWork:
    """Look up what is open, after taking in the answers that a run which was killed has left.

    Args:
        warehouse: where answers are looked up.
        specs: the experts.
        questions: rows of the questions table for all, or by expert's name the rows for each.

    Raises:
        InputError: an expert is given no questions.
    """
    offered = (
        dict.fromkeys((spec.name for spec in specs), questions)
        if isinstance(questions, pa.Table)
        else questions
    )
    for spec in specs:
        if spec.name not in offered:
            raise InputError(f"no questions are given for expert {spec.name!r}", fix="give it an empty table")
    take_in_journals(warehouse)
    found = {spec.name: open_questions(warehouse, spec, offered[spec.name]) for spec in specs}
    return OpenWork(tuple(specs), offered, {name: rows for name, rows in found.items() if rows.num_rows})


def open_questions(warehouse: Warehouse, spec: ExpertSpec, questions: pa.Table) -> pa.Table:
    """Return the questions that this version of the expert has no row for yet, each once."""
    questions = questions.take(first_of_each(questions["question_id"]))
    n = questions.num_rows
    keys = {
        "question_id": questions["question_id"],
        "expert": pa.repeat(spec.name, n),
        "expert_version": pa.repeat(spec.version, n),
    }
    return questions.filter(warehouse.missing("answers", pa.table(keys), expert=spec.name))
