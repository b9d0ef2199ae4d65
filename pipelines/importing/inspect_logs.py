"""Logs of inspect_ai (``.eval``, ``.json``), by its own reader where that package is installed."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from experts.catalogue.prompts import LETTERS
from experts.upstream.usage_parts import ToldUsage
from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.traffic.as_questions import prompt_of
from warehouse import CannotRunError, InputError, question_id


def read(path: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    """Yield the answers of a file or folder; see :data:`pipelines.importing.base.Read`."""
    if importlib.util.find_spec("inspect_ai") is None:
        raise CannotRunError(
            "its logs are read by inspect_ai itself", where=str(path), fix="pip install inspect-ai"
        )
    reader, scoring = importlib.import_module("inspect_ai.log"), importlib.import_module("inspect_ai.scorer")
    to_float = scoring.value_to_float()
    files = sorted(p for p in path.rglob("*") if p.suffix in (".eval", ".json")) if path.is_dir() else [path]
    if not files:
        raise InputError("no .eval or .json file", where=str(path), fix="give the folder of inspect's logs")
    for file in files:
        try:
            log = reader.read_eval_log(str(file))
        except Exception as error:
            raise InputError(
                f"inspect_ai cannot read it: {error}", where=str(file), fix="leave it out"
            ) from None
        task = str(log.eval.task)
        source = options.source or task.rpartition("/")[2]
        if log.status != "success":
            notes.tell(f"{file.name}: the run ended as {log.status}; its finished samples are taken")
        for sample in log.samples or ():
            where = f"{file}, sample {sample.id}, epoch {sample.epoch}"
            if sample.error is not None:
                notes.pass_over("the sample failed", where)
                continue
            name, score = _score(sample.scores or {}, options.metric)
            if score is None:
                notes.pass_over("it has no score" + (f" {options.metric!r}" if options.metric else ""), where)
                continue
            value = _value(score, to_float)
            if value is None:
                notes.pass_over("its score is no number, or none was given", where)
                continue
            yield Imported(
                where=where,
                question=_question(sample) | {"source": source, "domain": source},
                expert=str(sample.output.model or log.eval.model),
                score=value,
                text=sample.output.completion or None,
                usage=_usage(sample, str(log.eval.model)),
                latency_s=sample.working_time or sample.total_time,
                created_at=_time(sample.started_at or log.eval.created),
                grader=f"inspect:{name}",
            )


def _score(scores: Mapping[str, Any], metric: str | None) -> tuple[str, Any]:
    if metric is not None:
        return metric, scores.get(metric)
    return next(iter(scores.items()), ("", None))


def _value(score: Any, to_float: Any) -> float | None:
    """Return a score as inspect reads it (C is 1, P a half, I and N are 0); None where it was not scored."""
    if isinstance(score.value, list | dict):
        return None
    value = float(to_float(score.value))
    return None if math.isnan(value) else value


def _question(sample: Any) -> dict[str, Any]:
    prompt = sample.input
    if not isinstance(prompt, str):
        prompt = prompt_of([{"role": one.role, "content": one.text} for one in prompt])
    target = sample.target if isinstance(sample.target, str) else "".join(sample.target[:1])
    if not sample.choices:
        return {"prompt": prompt, "answer": target.strip(), "kind": "exact" if target.strip() else "judged"}
    choices, wanted = [str(choice).strip() for choice in sample.choices], target.strip()
    index = str(choices.index(wanted)) if wanted in choices else ""
    if not index and len(wanted) == 1 and wanted.upper() in LETTERS[: len(choices)]:
        index = str(LETTERS.index(wanted.upper()))
    identity = question_id(prompt, choices, index)
    return {"question_id": identity, "prompt": prompt, "choices": choices, "answer": index, "kind": "choice"}


def _usage(sample: Any, model: str) -> ToldUsage | None:
    """Return the tokens of the model under test; inspect counts what a cache did beside the input."""
    usages = sample.model_usage or {}
    found = usages.get(model) or next(iter(usages.values()), None)
    if found is None:
        return None
    cached, written = found.input_tokens_cache_read or 0, found.input_tokens_cache_write or 0
    return ToldUsage(
        prompt=found.input_tokens + cached + written,
        completion=found.output_tokens,
        total=found.total_tokens,
        cached=cached,
        cache_write=written,
        reasoning=found.reasoning_tokens or 0,
    )


def _time(value: Any) -> datetime | None:
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
