"""Multiple choice: right is the option whose index is the reference."""

from __future__ import annotations

from experts.grading.base import Asked, Fault, Grade, Grader, Reply


def _score(question: Asked, reply: Reply) -> Grade:
    answer, choices = question.answer, question.choices
    if not answer.isdecimal() or not choices or int(answer) >= len(choices):
        return Grade(None)  # the question itself names no right option
    return Grade(float(reply.choice == int(answer)))


def _comparable(reply: Reply) -> str | None:
    return None if reply.choice is None else str(reply.choice)


def _check(question: Asked) -> Fault | None:
    if not question.choices:
        return Fault("choices", "a choice question without choices", "list two or more")
    return None


GRADER = Grader("choice", 3, _score, _comparable, _check)
