"""Answers that a program checks, which comes with the question."""

from __future__ import annotations

from experts.grading.base import Asked, Fault, Grade, Grader, Reply
from experts.grading.exact import comparable_statement
from experts.grading.parsing import final_answer
from experts.grading.verifying import score_verified


def _score(question: Asked, reply: Reply) -> Grade:
    score, verifier = score_verified(reply.text, final_answer(reply.text), question.verifier)
    return Grade(score, verifier)


def _check(question: Asked) -> Fault | None:
    if not question.verifier:
        return Fault(
            "verifier", "a verified question without a verifier", 'give {"name": ..., "payload": {...}}'
        )
    return None


GRADER = Grader("verified", 2, _score, comparable_statement, _check)
