"""Answers of one form that say the same: what agreement between experts is judged by."""

from __future__ import annotations

from experts.forms.answer import Said
from experts.forms.kinds import AnswerForm, NumberOrFormula, OptionLetter, ShortText
from experts.grading.parsing import parse_choice
from experts.grading.replies import comparable_answer

#: Forms of which equal answers mean something. Of long texts, code and JSON with free fields they do not.
COMPARABLE_FORMS = (OptionLetter, NumberOrFormula, ShortText)


def is_comparable(form: AnswerForm) -> bool:
    """Tell whether answers of a form can be compared."""
    return isinstance(form, COMPARABLE_FORMS)


def option_count(form: AnswerForm) -> int:
    """Return how many different answers a form offers; 0 where it does not say."""
    return len(form.choices) if isinstance(form, OptionLetter) else 0


def comparable_key(form: AnswerForm, said: Said) -> str | None:
    """Return what an answer says, in one form for all that say the same; None where it cannot be compared.

    It is read as the graders read it, and as :func:`experts.grading.replies.load_replies` read what the
    policy has learned from.

    >>> comparable_key(OptionLetter(("iron", "air")), Said("It is B."))
    '1'
    >>> comparable_key(ShortText(), Said("Lima "))
    'lima'
    """
    if isinstance(form, OptionLetter):
        return comparable_answer("choice", parse_choice(said.text, form.choices), said.text)
    if isinstance(form, NumberOrFormula | ShortText):
        return comparable_answer("exact", None, said.text)
    return None
