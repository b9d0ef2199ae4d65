"""Answers that only a reader can judge (:mod:`experts.grading.rubric`); no rule grades them."""

from __future__ import annotations

from experts.grading.base import Asked, Fault, Grader
from experts.grading.exact import comparable_statement


def _check(question: Asked) -> Fault | None:
    return None


GRADER = Grader("judged", 1, None, comparable_statement, _check)
