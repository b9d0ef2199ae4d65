"""Outputs of OpenAI's batches: a line per request, joined with the requests by ``custom_id``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experts.upstream.usage_parts import read_told
from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.importing.references import References
from pipelines.questions.loading.records import read_records
from pipelines.traffic.as_questions import prompt_of, text_of
from warehouse import InputError


def read(path: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    """Yield the answers of a file or folder; see :data:`pipelines.importing.base.Read`."""
    if options.requests is None:
        raise InputError(
            "outputs do not repeat what was asked",
            where=str(path),
            fix="name the batch's file with --requests",
        )
    asked = _requests(options.requests)
    references = References(options.questions, options.source)
    for place, line in read_records(path):
        where = f"{path}, {place}"
        identity, response = line.get("custom_id"), line.get("response")
        if identity is None or "response" not in line:
            raise InputError("no output of a batch", where=where, fix="give the batch's output file")
        body = response.get("body") if isinstance(response, dict) else None
        if not isinstance(response, dict) or response.get("status_code") != 200 or not isinstance(body, dict):
            notes.pass_over("the request failed", where)
            continue
        request = asked.get(str(identity))
        if request is None:
            told = f"no request has the custom_id {identity!r}"
            notes.faults.append(InputError(told, where=where, fix=f"look into {options.requests}"))
            continue
        prompt, text = _asked(request), said_in(body)
        if not prompt.strip() or text is None:
            notes.pass_over("no text was asked, or none was answered", where)
            continue
        own = {"prompt": prompt, "kind": "judged", "domain": "batch", "source": options.source or path.stem}
        yield Imported(
            where=where,
            question=references.find(prompt, identity) or own,
            expert=str(body.get("model") or request.get("model") or ""),
            text=text,
            usage=read_told(body.get("usage")) if body.get("usage") else None,
            is_batch=True,
            created_at=_time(body.get("created")),
        )


def _requests(path: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for place, line in read_records(path):
        if line.get("custom_id") is None or not isinstance(line.get("body"), dict):
            raise InputError("no request of a batch", where=f"{path}, {place}", fix="give custom_id and body")
        if str(line["custom_id"]) in found:
            raise InputError(f"custom_id {line['custom_id']!r} is there twice", where=f"{path}, {place}")
        found[str(line["custom_id"])] = line["body"]
    return found


def _asked(body: Mapping[str, Any]) -> str:
    told = body.get("messages", body.get("input"))
    if isinstance(told, list):
        return prompt_of([one for one in told if isinstance(one, Mapping)])
    return str(told if isinstance(told, str) else body.get("prompt") or "")


def said_in(body: Mapping[str, Any]) -> str | None:
    """Return what a completion in OpenAI's shape says; None where that is no text."""
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        said = message.get("content") if isinstance(message, dict) else choices[0].get("text")
        return text_of(said) or None
    output = body.get("output")  # of /v1/responses
    if isinstance(output, list):
        parts = [text_of(one.get("content")) for one in output if isinstance(one, Mapping)]
        return "\n".join(filter(None, parts)) or None
    return None


def _time(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 4e9:
        return None
    return datetime.fromtimestamp(value, UTC)
