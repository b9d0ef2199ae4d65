"""The frozen evaluation set: made once in a home, and never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.questions.sources.base import QuestionSettings, QuestionSource, Request, SetAside
from pipelines.selfplay.assign import expect_costs
from pipelines.selfplay.round_record import FROZEN, RoundRecord, Step
from warehouse import InfeasibleError, InputError, TooFewError, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from experts import ExpertSpec


@dataclass(frozen=True)
class FrozenQuestions:
    """Which questions are frozen, and where they came from."""

    ids: tuple[str, ...]
    source: str
    set_aside: SetAside | None = None  # where they were made now, of a source with an end


def freeze_questions(
    source: QuestionSource, settings: QuestionSettings, warehouse: Warehouse, record: RoundRecord
) -> FrozenQuestions:
    """Make the home's frozen set, once.

    Args:
        source: of the questions.
        settings: how many, and where they are to come from.
        warehouse: where they are kept.
        record: of the frozen set.

    Raises:
        TooFewError: no question falls to it.
        InputError: the home's set came from elsewhere.
    """
    made_now: list[SetAside | None] = []

    def make() -> Step:
        made = source.make(Request(settings.frozen_count, FROZEN, settings.seed + 1_000_003, frozen=True))
        if not made.questions.num_rows:
            raise TooFewError(
                "no question falls to the frozen set",
                where=source.name,
                fix="give more questions; a fifth of them, chosen by a hash of the prompt, is frozen",
            )
        made_now.append(source.set_aside())
        warehouse.append("questions", made.questions, round=FROZEN)
        return {"source": source.name, "ids": made.questions["question_id"].to_pylist()}

    kept = record.step("questions", make)
    if settings.frozen is not None and kept["source"] != settings.frozen:
        raise InputError(
            f"this home's frozen set came from {kept['source']!r}",
            where="--frozen",
            fix="leave the option out, or begin in another home",
        )
    return FrozenQuestions(tuple(kept["ids"]), kept["source"], made_now[0] if made_now else None)


def check_affordable(
    warehouse: Warehouse, experts: Sequence[ExpertSpec], questions: pa.Table, left_usd: float | None
) -> None:
    """See that a budget covers what lacks of the experts' answers to the frozen set.

    Raises:
        InfeasibleError: it does not.
    """
    from pipelines.answering.open_work import find_open_work

    if left_usd is None:
        return
    todo = find_open_work(warehouse, experts, questions).todo
    expected = sum(
        float(expect_costs(todo[spec.name], [spec], None).sum()) for spec in experts if spec.name in todo
    )
    if expected > left_usd:
        raise InfeasibleError(
            f"{left_usd:.6g} USD do not cover what lacks of the frozen answers, about {expected:.6g} USD",
            where="--budget-usd",
            fix="raise it, or freeze fewer questions (--frozen-questions)",
        )
