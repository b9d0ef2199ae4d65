"""The form that a request's answer has to have, and what is thought of one that came."""

from __future__ import annotations

import logging
from collections.abc import Callable

from experts.forms import (
    AnswerForm,
    Said,
    SchemaError,
    Unusable,
    form_of_request,
    judge_usable,
    must_be_whole,
)
from serve.experts.client import Body, WholeAnswer
from serve.request.in_flight import InFlight
from serve.wire.api_errors import ApiError

logger = logging.getLogger("ray.serve")

#: Completion tokens within which a letter or a number is held back: its stream would be over in a moment.
_FEW_TOKENS = 64


def find_form(body: Body, text: str) -> AnswerForm:
    """Return the form that an answer has to have.

    Args:
        body: of the request, as it goes to an expert.
        text: what was said last.

    Raises:
        ApiError: a schema in the request is none, or cannot be checked.
    """
    try:
        return form_of_request(body, text)
    except SchemaError as error:
        param = "response_format" if str(error).startswith("response_format") else "tools"
        raise ApiError(
            400, f"no schema to check an answer by: {error}", param=param, code="invalid_schema"
        ) from None


def is_held(job: InFlight) -> bool:
    """Tell whether a stream is held back until it is whole: nothing of it is of use before.

    A stream that can only come from one expert goes out as it comes.
    """
    if not must_be_whole(job.form) or job.most_answers < 2 or len(job.order) < 2:
        return False
    return job.form.name not in ("option", "number") or (job.request.limit or _FEW_TOKENS + 1) <= _FEW_TOKENS


def judge_of(form: AnswerForm) -> Callable[[WholeAnswer], Unusable | None]:
    """Return what judges whole answers: it says what is wrong with the first choice, None where one will do.

    An answer is not lost because we cannot judge it.
    """

    def judge(answer: WholeAnswer) -> Unusable | None:
        first: Unusable | None = None
        try:
            for choice in answer.body.get("choices", ()):
                found = judge_usable(form, Said.of_choice(choice))
                if found is None:
                    return None
                first = first or found
        except Exception:
            logger.exception("an answer cannot be judged")
            return None
        return first

    return judge


def judge_safely(form: AnswerForm, said: Said) -> Unusable | None:
    """Return what :func:`judge_usable` does; an answer is not lost because we cannot judge it."""
    try:
        return judge_usable(form, said)
    except Exception:
        logger.exception("an answer cannot be judged")
        return None
