"""Free-form answers: a number is compared by its value, a formula by its meaning, words as they stand."""

from __future__ import annotations

import re

from experts.grading.base import Asked, Fault, Grade, Grader, Reply
from experts.grading.markup import unwrap
from experts.grading.numbers import parse_number, same_number, stated_number
from experts.grading.parsing import final_answer, stated_answer
from experts.grading.symbolic import equal_formulas, is_formula
from warehouse import normalise_text

_DASHES = re.compile("[\u2010\u2011\u2012\u2013\u2212]")  # hyphens, the en dash and the minus sign
#: A longer text is compared as it stands: no reference is so long.
_LONGEST_FOLDED = 100_000


def reference_kind(answer: str) -> str:
    """Say how a reference answer is compared: ``numeric``, ``symbolic`` or ``exact``."""
    if parse_number(answer) is not None:
        return "numeric"
    return "symbolic" if is_formula(answer) else "exact"


def matches(text: str, answer: str) -> bool:
    r"""Tell whether a generated text states the reference answer, formulas not worked out.

    Numbers compare by value (``1,000`` is ``1000.0``), all else by normalised text without the end stop.

    >>> matches("So \\boxed{1,000}", "1000.0"), matches("It is Paris.\nMore", "paris")
    (True, False)
    """
    stated, marked = stated_answer(text)
    if _fold(stated) == _fold(unwrap(answer)):
        return True
    expected = parse_number(answer)
    if expected is None:
        return False
    number = stated_number(stated, prose=not marked)
    return number is not None and same_number(expected, number)


def _fold(text: str) -> str:
    return _DASHES.sub("-", normalise_text(text[:_LONGEST_FOLDED]))


def _score(question: Asked, reply: Reply) -> Grade:
    if not question.answer.strip():
        return Grade(None)  # nothing to compare with
    way = reference_kind(question.answer)
    if way != "symbolic" or matches(reply.text, question.answer):
        return Grade(float(matches(reply.text, question.answer)), way)
    equal = equal_formulas(final_answer(reply.text), question.answer)
    return Grade(None if equal is None else float(equal), way)


def comparable_statement(reply: Reply) -> str | None:
    """Return the final answer in one form for all that say the same: a number's value, else the words."""
    stated = final_answer(reply.text)
    number = parse_number(stated)
    return str(number) if number is not None else normalise_text(stated) or None


def _check(question: Asked) -> Fault | None:
    if not question.answer.strip():
        return Fault("answer", "no answer", "give the right answer, drop the question, or set kind to judged")
    return None


GRADER = Grader("exact", 3, _score, comparable_statement, _check)
