from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from warehouse import QUESTIONS, question_id


def make_questions(rows: list[dict[str, Any]]) -> pa.Table:
    """QUESTIONS rows from prompt, answer and, where given, choices, kind and verifier."""
    full = []
    for row in rows:
        choices = row.get("choices")
        full.append(
            {
                "question_id": question_id(row["prompt"], choices, row["answer"]),
                "source": "test",
                "domain": "test",
                "kind": "choice" if choices else "exact",
                **row,
            }
        )
    return pa.Table.from_pylist(full, schema=QUESTIONS)


@pytest.fixture
def questions_of():
    return make_questions
