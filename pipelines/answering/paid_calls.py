"""What calls of a paid API may have cost and what came of them, written down as it happens.

An API bills each call. So before a call its worst case goes into a journal, and its answer as soon as it is
there, before the next call takes its place: whatever is killed, at most what was in flight is asked again,
and what that may have cost is known. Rows still go to the answers table block by block; what a kill leaves
in a journal is taken in by :mod:`pipelines.answering.taking_in`.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from warehouse.files import FileStore
from warehouse.journal import Journal

if TYPE_CHECKING:
    from experts import ExpertSpec
    from experts.backends.base import Keep, RawAnswer
    from experts.backends.spend_cap import Purse, ReserveOutcome

#: Where journals lie, as ``round=.../expert=.../SESSION-...``.
FOLDER = "journal"

#: What a grader needs of a question, beside its id.
GRADED_BY = ("kind", "choices", "answer", "verifier")


class PaidCalls:
    """The journal of one process that asks one expert; a :class:`experts.backends.spend_cap.Purse`.

    Args:
        warehouse_url: where answers go.
        round: under which they are stored.
        run_id: kept on every row.
        spec: the expert.
        session: of the run of answers that this process is part of; no other run has the same.
        purse: where money comes from; None: there is no limit.

    Raises:
        OSError: of a call, when it cannot be written down (disk full).
    """

    def __init__(
        self, warehouse_url: str, round: str, run_id: str, spec: ExpertSpec, session: str, purse: Purse | None
    ) -> None:
        place = f"{FOLDER}/round={quote(round, safe='')}/expert={quote(spec.name, safe='')}"
        self._journal = Journal(FileStore(warehouse_url), f"{place}/{session}-{uuid.uuid4().hex}")
        self._purse = purse
        self._constant = {"expert_version": spec.version, "run_id": run_id}
        self._kept_at: dict[str, datetime] = {}

    def reserve(self, usd: float) -> ReserveOutcome:
        """Set money aside, and write down that it may be spent."""
        from experts.backends.spend_cap import ReserveOutcome

        grant = ReserveOutcome.GRANTED if self._purse is None else self._purse.reserve(usd)
        if grant is ReserveOutcome.GRANTED:
            try:
                self._journal.write({"reserved": usd})
            except BaseException:
                if self._purse is not None:
                    self._purse.settle(usd, 0.0)
                raise
        return grant

    def settle(self, reserved_usd: float, spent_usd: float) -> None:
        """Book what it came to. A kill before the next flush leaves the worst case in its place."""
        self._journal.write({"settled": [reserved_usd, spent_usd]}, wait=False)
        if self._purse is not None:
            self._purse.settle(reserved_usd, spent_usd)

    def keeper(self, questions: pa.Table) -> Keep:
        """Return what keeps the answers to these QUESTIONS rows; see :data:`experts.backends.base.Keep`."""
        from experts import QUESTION_ERRORS

        rows = {row["question_id"]: row for row in questions.select(["question_id", *GRADED_BY]).to_pylist()}

        def keep(question_id: str, answer: RawAnswer) -> None:
            if answer.error and answer.error.split(":")[0] not in QUESTION_ERRORS:
                return  # it stays open
            now = datetime.now(UTC)
            row: dict[str, Any] = asdict(answer) | {"question_id": question_id}
            row |= {"created_at": now.isoformat()} | self._constant
            self._journal.write({"answer": row, "question": rows[question_id]})
            self._kept_at[question_id] = now

        return keep

    def stamp(self, rows: pa.Table) -> pa.Table:
        """Give ANSWERS rows the time at which each was kept, by which a journal knows its own."""
        self._journal.flush()
        kind = rows.schema.field("created_at")
        times = [
            self._kept_at.pop(question_id, created_at)
            for question_id, created_at in zip(
                rows["question_id"].to_pylist(), rows["created_at"].to_pylist(), strict=True
            )
        ]
        place = rows.schema.get_field_index("created_at")
        return rows.set_column(place, kind, pa.array(times, kind.type))
