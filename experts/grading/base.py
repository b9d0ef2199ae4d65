"""What every grader does: one kind of question each, in a file of its own, with a row in ``GRADERS``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Asked(NamedTuple):
    """What a grader knows of a question; the fields are those of QUESTIONS."""

    choices: Sequence[str] | None
    answer: str
    verifier: str | None = None


class Reply(NamedTuple):
    """What came back: the text, and the option chosen or read out of it."""

    text: str
    choice: int | None = None


class Grade(NamedTuple):
    """A score in [0, 1], None where the grader cannot tell; and by what, if that is not the kind."""

    score: float | None
    by: str | None = None


class Fault(NamedTuple):
    """Why a question is none of this kind: the field that is wrong, what is wrong, and how to fix it."""

    field: str
    says: str
    fix: str


@dataclass(frozen=True)
class Grader:
    """How one kind of question is checked, graded and compared.

    Args:
        kind: the value of a question's ``kind``.
        version: raised when verdicts change; rows carry ``<kind or way>@<version>``.
        score: the grade of a reply; None where no rule can grade this kind.
        comparable: what a reply says in one form for all that say the same, None if it says nothing.
        check_question: a fault of a question of this kind, None if there is none.
    """

    kind: str
    version: int
    score: Callable[[Asked, Reply], Grade] | None
    comparable: Callable[[Reply], str | None]
    check_question: Callable[[Asked], Fault | None]

    def name(self, by: str | None = None) -> str:
        """Return what stands on a graded row: the kind, or by what it was graded, and the version."""
        return f"{by or self.kind}@{self.version}"
