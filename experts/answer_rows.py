"""From questions to complete ANSWERS rows: answer, grade, price."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experts.backends.base import Backend, Keep
from experts.backends.recorded_backend import RecordedBackend
from experts.backends.spend_cap import Purse
from experts.catalogue.spec import ExpertSpec
from experts.grading.grade import grade
from warehouse import ANSWERS


def answer_and_grade(
    backend: Backend,
    spec: ExpertSpec,
    questions: pa.Table,
    *,
    round: str,
    run_id: str,
    purse: Purse | None = None,
    keep: Keep | None = None,
) -> pa.Table:
    """Return ANSWERS rows for QUESTIONS rows, in the same order.

    ``cost_usd`` is what the backend was billed, else the tokens at the expert's price; null where these are
    unknown. Recorded answers keep their recorded score. With a purse or ``keep``, see
    :meth:`experts.backends.base.Backend.answer`.
    """
    price = spec.price  # at the time of the call
    raw = backend.answer(questions, purse=purse, keep=keep)
    graded = backend.score(raw) if isinstance(backend, RecordedBackend) else grade(questions, raw)
    prompt_tokens, completion_tokens = (
        graded[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("prompt_tokens", "completion_tokens")
    )
    priced = pa.array(price.cost_usd(prompt_tokens, completion_tokens), pa.float64(), from_pandas=True)
    cost_usd = pc.coalesce(graded["cost_usd"], pa.chunked_array([priced]))
    return complete_rows(
        graded.set_column(graded.schema.get_field_index("cost_usd"), "cost_usd", cost_usd),
        expert=spec.name,
        expert_version=spec.version,
        round=round,
        run_id=run_id,
        created_at=datetime.now(UTC),
    )


def complete_rows(graded: pa.Table, **constant: Any) -> pa.Table:
    """Return ANSWERS rows from graded answers: ``constant`` are the columns that are the same in all."""
    columns = {name: graded[name] for name in graded.column_names}
    columns |= {
        name: pa.repeat(pa.scalar(value, ANSWERS.field(name).type), graded.num_rows)
        for name, value in constant.items()
    }
    return pa.table([columns[name] for name in ANSWERS.names], schema=ANSWERS)
