"""A question before it is a row: the right answer and the wrong options as text, not yet in an order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from warehouse.schemas import QUESTIONS, normalise_text, question_id

Row = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """One question as a generator or a loader yields it.

    With ``wrong`` it is a multiple-choice question; with ``verifier`` (``{"name": ..., "payload": {...}}``)
    it is free-form and a program checks it; with neither, the reply must be ``answer`` itself.
    """

    prompt: str
    answer: str
    wrong: tuple[str, ...] = ()
    verifier: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """What makes two drafts near-duplicates: the same prompt, whatever its options."""
        return normalise_text(self.prompt)


def draft_choice(
    prompt: str, answer: str, pool: Iterable[str], *, also_right: Iterable[str] = (), count: int = 3
) -> Draft:
    """Return a choice question with up to ``count`` wrong options drawn from ``pool``.

    Options that read the same as the answer, as each other or as one of ``also_right`` are left out. The draw
    depends on the prompt alone, so that the same question has the same options, and hence the same id, under
    every seed.

    Raises:
        ValueError: no option is left in ``pool``; a fault of the generator, not of its user.
    """
    taken = {normalise_text(answer), *(normalise_text(text) for text in also_right)}
    candidates: list[str] = []
    for text in pool:
        if normalise_text(text) not in taken:
            taken.add(normalise_text(text))
            candidates.append(text)
    if not candidates:
        raise ValueError(f"no wrong option left for {prompt!r}")
    wrong = random.Random(prompt).sample(candidates, min(count, len(candidates)))
    return Draft(prompt, answer, tuple(wrong))


def draft_row(
    draft: Draft,
    *,
    source: str,
    domain: str,
    subject: str | None,
    difficulty: int | None = None,
    round: str,
    created_at: datetime | None = None,
) -> Row:
    """Return the draft as one QUESTIONS row; the order of its options follows from its prompt, not a seed."""
    choices: list[str] | None = None
    answer, kind = draft.answer, "verified" if draft.verifier else "exact"
    if draft.wrong:
        choices = [draft.answer, *draft.wrong]
        random.Random(f"order of {draft.prompt}").shuffle(choices)
        answer, kind = str(choices.index(draft.answer)), "choice"
    return question_row(
        prompt=draft.prompt,
        choices=choices,
        answer=answer,
        kind=kind,
        verifier=draft.verifier,
        source=source,
        domain=domain,
        subject=subject,
        difficulty=difficulty,
        round=round,
        created_at=created_at,
    )


def question_row(
    *,
    prompt: str,
    choices: Sequence[str] | None,
    answer: str,
    kind: str,
    verifier: dict[str, Any] | None = None,
    source: str,
    domain: str,
    subject: str | None,
    difficulty: int | None = None,
    round: str,
    parent_id: str | None = None,
    created_at: datetime | None = None,
) -> Row:
    """Return one QUESTIONS row; ``answer`` is the index as text when ``kind`` is ``choice``."""
    return {
        "question_id": question_id(prompt, choices, answer),
        "source": source,
        "domain": domain,
        "subject": subject,
        "prompt": prompt,
        "choices": list(choices) if choices else None,
        "answer": answer,
        "kind": kind,
        "verifier": json.dumps(verifier, ensure_ascii=False, sort_keys=True) if verifier else None,
        "difficulty": difficulty,
        "round": round,
        "parent_id": parent_id,
        "created_at": created_at or datetime.now(UTC),
    }


def questions_table(rows: Iterable[Row]) -> pa.Table:
    """Return the rows as a QUESTIONS table; of rows with the same id, hence content, the first is kept."""
    unique: dict[str, Row] = {}
    for row in rows:
        unique.setdefault(row["question_id"], row)
    return pa.Table.from_pylist(list(unique.values()), schema=QUESTIONS)
