"""Which recorded answers were usable: what an evaluation knows of falling through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experts.grading.replies import Replies

_IS_GIVEN = np.frompyfunc(lambda answer: answer is not None, 1, 1)


def usable_answers(replies: Replies, score: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether each recorded answer could be used, as :func:`~experts.forms.judge_usable` says it.

    The contract, for ``n`` questions and ``m`` experts: a bool array [n, m]. False where an answer was given,
    and paid, that says nothing in the form wanted: no option, number or words could be read from it. True
    where one could. False as well where there is no answer at all (``score`` is NaN). An expert of whom no
    reply can be read anywhere has only its scores recorded: whether its answers were usable is not known, and
    all that have a score count as usable.

    Args:
        replies: of :func:`experts.grading.replies.load_replies`, or with letters as ``answer`` [n, m].
        score: [n, m], NaN where there is no answer.

    Raises:
        ValueError: the two are not of one shape.
    """
    if replies.answer.shape != score.shape:
        raise ValueError(
            f"replies of {replies.answer.shape} and scores of {score.shape} do not belong together"
        )
    is_there = ~np.isnan(score)
    is_read = _IS_GIVEN(replies.answer).astype(bool) & is_there
    has_letters = is_read.any(axis=0)
    return np.where(has_letters, is_read, is_there)
