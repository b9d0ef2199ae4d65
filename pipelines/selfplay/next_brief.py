"""What a round leaves for the next one's makers of questions."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.learning.traffic_mix import read_mix
from pipelines.questions.brief import Brief, GapBrief, TrafficShare, read_cells
from pipelines.selfplay.round_record import RoundRecord, Step
from warehouse import Outcomes, Warehouse
from warehouse.home import Home


def read_brief(
    home: Home,
    warehouse: Warehouse,
    learned: Outcomes | None,
    experts: Sequence[str],
    record: RoundRecord | None = None,
) -> Brief:
    """What the answers and the recorded traffic so far say, with the gaps that a finished round found.

    Args:
        home: whose traffic.
        warehouse: where the answers are.
        learned: those that may be learned from; None: there are none.
        experts: whose answers count.
        record: of the finished round; None before the first round of a run.
    """
    if learned is None or (record is not None and "gaps" not in record):
        return Brief()
    with warehouse.connect() as connection:
        cells = read_cells(connection, learned.question_ids.tolist(), experts)
    kept = record["gaps"]["gaps"] if record is not None else ()
    traffic = tuple(TrafficShare(part.domain, part.share, part.need) for part in read_mix(home, learned))
    return Brief(cells, tuple(read_gap(gap) for gap in kept), traffic)


def read_gap(kept: Step) -> GapBrief:
    """A gap from the form in which it is recorded."""
    lists = {key: tuple(kept[key]) for key in ("domains", "example_ids")}
    return GapBrief(**kept | lists)
