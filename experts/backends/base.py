"""What every backend does, and the choice of one from an expert's specification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from experts.backends.spend_cap import Purse
from experts.upstream.failure import FailureKind
from warehouse import RAW_ANSWERS

#: What an API or an engine says of a request that it refuses. Of one question among others it is the
#: question's own fault; of every question it is the expert's (a field it does not know, a limit too low).
REFUSALS = (FailureKind.BAD_REQUEST, FailureKind.REFUSED_PARAMETER, FailureKind.EMPTY, "RefusedByEngine")

#: Errors that are the question's own: another expert may fail at it alike, and asking again changes nothing.
#: All other errors say something about the expert, or pass.
QUESTION_ERRORS = (
    *("UnanswerableQuestion", "NotRecorded", "ValueError"),
    *(FailureKind.CONTENT_FILTER, FailureKind.CONTEXT_OVERFLOW, *REFUSALS),
)

#: The error of a question that was not asked because its worst case did not fit the budget.
BUDGET_SPENT = "BudgetSpent"


#: Told of an answer, by the id of its question, as soon as it is there; returns when it is kept.
Keep = Callable[[str, "RawAnswer"], None]


class Backend(Protocol):
    """Something stateful that answers questions in batches; built once per process."""

    def answer(
        self, questions: pa.Table, *, purse: Purse | None = None, keep: Keep | None = None
    ) -> pa.Table:
        """Return RAW_ANSWERS rows for QUESTIONS rows, in the same order; several threads may call at once.

        A question that fails is a row with ``error`` ("Class: message"). An exception means that the backend
        itself is broken (engine dead, recording unreadable), not a question. With a purse, money is reserved
        before a question is asked; what there is no money for has the error :data:`BUDGET_SPENT`. A backend
        whose answers are billed one by one tells ``keep`` of each as it comes, from any of its threads, and
        asks no more in its place before that has returned; others need not.
        """
        ...


def has_error(answers: pa.Table, *names: str) -> pa.ChunkedArray:
    """Tell for each row (boolean) whether its error is of one of these classes."""
    return pc.fill_null(pc.match_substring_regex(answers["error"], rf"^({'|'.join(names)}):"), False)


@dataclass
class RawAnswer:
    """One row of RAW_ANSWERS without its question id."""

    text: str | None = None
    choice: int | None = None
    choice_logprobs: list[float] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    error: str | None = None
    cost_usd: float | None = None


def raw_table(question_ids: Sequence[str], answers: Sequence[RawAnswer]) -> pa.Table:
    """Return answers, one per question id, as an RAW_ANSWERS table.

    Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes a question mark.
    """
    columns: dict[str, list[Any]] = {"question_id": list(question_ids)}
    for name in RAW_ANSWERS.names[1:]:
        columns[name] = [getattr(answer, name) for answer in answers]
    for name in ("text", "error"):
        columns[name] = [text and text.encode("utf-8", "replace").decode() for text in columns[name]]
    return pa.table(columns, schema=RAW_ANSWERS)
