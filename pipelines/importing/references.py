"""Questions with their right answers, for files of answers that have none: by an id, or by the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.questions.loading.fields import open_record, read_question
from pipelines.questions.loading.question_file import Reading, answer_writings
from pipelines.questions.loading.records import read_records
from pipelines.questions.loading.report import LoadReport
from warehouse.schemas import normalise_text

_IDS = ("custom_id", "id", "question_id", "uid")
_KEPT = ("question_id", "prompt", "choices", "answer", "kind", "verifier", "domain", "subject", "difficulty")


class References:
    """The questions of a file; an empty one where there is none."""

    def __init__(self, path: Path | None, source: str | None) -> None:
        self._by_id: dict[str, dict[str, Any]] = {}
        self._by_prompt: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        records = [(f"{path}, {place}", record) for place, record in read_records(path)]
        opened = [open_record(record, where=where) for where, record in records]
        writings = answer_writings(opened, Reading(), LoadReport())
        for (_, record), one in zip(records, opened, strict=True):
            row = read_question(one, source=source or path.stem, writings=writings)
            kept = {name: row[name] for name in _KEPT if row.get(name) is not None}
            kept["source"] = row["source"]
            for name in _IDS:
                if record.get(name) is not None:
                    self._by_id.setdefault(str(record[name]), kept)
            self._by_prompt.setdefault(normalise_text(row["prompt"]), kept)

    def find(self, prompt: str, identity: object = None) -> Mapping[str, Any] | None:
        """Return the question with this id, else with this prompt."""
        found = self._by_id.get(str(identity)) if identity is not None else None
        return found or self._by_prompt.get(normalise_text(prompt))
