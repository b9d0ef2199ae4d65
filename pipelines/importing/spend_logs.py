"""Spend logs of a LiteLLM gateway (its table ``LiteLLM_SpendLogs``), exported as JSONL, JSON, CSV or Parquet.

They have what a call cost and took, and what was asked and answered where the gateway keeps it
(``store_prompts_in_spend_logs: true``); no scores. Answers are graded by ``--questions``, or judged later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.importing.openai_batch import said_in
from pipelines.importing.references import References
from pipelines.questions.loading.records import read_records
from pipelines.traffic.as_questions import prompt_of
from warehouse import InputError

_NEEDED = ("request_id", "spend", "model")


def read(path: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    """Yield the answers of a file or folder; see :data:`pipelines.importing.base.Read`."""
    references = References(options.questions, options.source)
    for place, row in read_records(path):
        where = f"{path}, {place}"
        if missing := [name for name in _NEEDED if name not in row]:
            raise InputError(
                f"no spend log: {missing[0]} is missing", where=where, fix="export LiteLLM_SpendLogs"
            )
        if str(row.get("cache_hit")).lower() == "true":
            notes.pass_over("the gateway's own cache answered", where)
            continue
        if str(row.get("status") or "success").lower() != "success":
            notes.pass_over("the call failed", where)
            continue
        prompt, text = _asked(row), said_in(_mapping(row.get("response")))
        if not prompt.strip() or text is None:
            notes.pass_over(
                "it has no prompt or no answer; the gateway keeps them with store_prompts_in_spend_logs",
                where,
            )
            continue
        began, ended = _time(row.get("startTime")), _time(row.get("endTime"))
        source = options.source or "spend-logs"
        own = {"prompt": prompt, "kind": "judged", "domain": "gateway", "source": source}
        yield Imported(
            where=where,
            question=references.find(prompt, row["request_id"]) or own,
            expert=str(row.get("model_group") or row["model"] or ""),
            text=text,
            prompt_tokens=_number(row.get("prompt_tokens")),
            completion_tokens=_number(row.get("completion_tokens")),
            cost_usd=_number(row["spend"]),
            latency_s=(ended - began).total_seconds() if began and ended else None,
            created_at=began,
        )


def _asked(row: Mapping[str, Any]) -> str:
    """Return what was asked; newer gateways keep it with the whole request."""
    for told in (row.get("messages"), _mapping(row.get("proxy_server_request")).get("messages")):
        messages = _json(told)
        if isinstance(messages, list):
            return prompt_of([one for one in messages if isinstance(one, Mapping)])
        if isinstance(messages, str) and messages.strip():
            return messages
    return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    found = _json(value)
    return found if isinstance(found, Mapping) else {}


def _json(value: Any) -> Any:
    """Return JSON that a table holds as text."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _number(value: Any) -> Any:
    """Return a number that CSV has as text; what is none is left for the check to name."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value.strip() else None
    except ValueError:
        return value


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
