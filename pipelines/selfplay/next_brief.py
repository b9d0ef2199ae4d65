"""What a round leaves for the next one's makers of questions."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.learning.evidence import Evidence
from pipelines.questions.brief import Brief, GapBrief, read_cells
from pipelines.selfplay.round_record import RoundRecord, Step
from warehouse import Warehouse


def read_brief(
    warehouse: Warehouse, evidence: Evidence | None, experts: Sequence[str], record: RoundRecord | None = None
) -> Brief:
    """What the answers so far say, with the gaps that a finished round found.

    Args:
        warehouse: where the answers are.
        evidence: the same, split.
        experts: whose answers count.
        record: of the finished round; None before the first round of a run.
    """
    learned = evidence.to_learn() if evidence is not None else None
    if learned is None or (record is not None and "gaps" not in record):
        return Brief()
    with warehouse.connect() as connection:
        cells = read_cells(connection, learned.question_ids.tolist(), experts)
    kept = record["gaps"]["gaps"] if record is not None else ()
    return Brief(cells, tuple(read_gap(gap) for gap in kept))


def read_gap(kept: Step) -> GapBrief:
    """A gap from the form in which it is recorded."""
    lists = {key: tuple(kept[key]) for key in ("domains", "example_ids")}
    return GapBrief(**kept | lists)
