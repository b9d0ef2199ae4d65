"""Which answers become rows: those that say something about their question."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def is_lost(answers: pa.Table, *, has_answered: bool) -> pa.ChunkedArray:
    """Tell for each answer (boolean) whether its error says nothing about the question, which stays open.

    Args:
        answers: with the column ``error``.
        has_answered: the expert has answered something: what it refuses now is the question's own fault. An
            expert that only ever refuses may be asked in a way that it does not know.
    """
    from experts import QUESTION_ERRORS, REFUSALS, has_error

    lost = pc.and_(pc.is_valid(answers["error"]), pc.invert(has_error(answers, *QUESTION_ERRORS)))
    return lost if has_answered else pc.or_(lost, has_error(answers, *REFUSALS))
