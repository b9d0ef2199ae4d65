"""What every backend does, and the choice of one from an expert's specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from experts.catalogue import ExpertSpec
from warehouse import RAW_ANSWERS


class Backend(Protocol):
    """Something stateful that answers questions in batches; built once per process."""

    def answer(self, questions: pa.Table) -> pa.Table:
        """Return RAW_ANSWERS rows for QUESTIONS rows, in the same order.

        A question that fails is a row with ``error`` ("Class: message"). An exception means that the backend
        itself is broken (engine dead, recording unreadable), not a question.
        """
        ...


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


def raw_table(question_ids: Sequence[str], answers: Sequence[RawAnswer]) -> pa.Table:
    """Return answers, one per question id, as an RAW_ANSWERS table."""
    columns: dict[str, list[Any]] = {"question_id": list(question_ids)}
    for name in RAW_ANSWERS.names[1:]:
        columns[name] = [getattr(answer, name) for answer in answers]
    return pa.table(columns, schema=RAW_ANSWERS)


def build_backend(spec: ExpertSpec, *, cache_dir: str | Path | None = None) -> Backend:
    """Build the backend of an expert; for vLLM this loads the model.

    Raises InputError when the expert cannot run here (package, key or recording missing).
    """
    if spec.backend == "vllm":
        from experts.vllm_backend import VllmBackend

        return VllmBackend(spec, cache_dir=cache_dir)
    if spec.backend == "openai":
        from experts.openai_backend import OpenAIBackend

        return OpenAIBackend(spec)
    from experts.recorded_backend import RecordedBackend

    return RecordedBackend(spec)
