"""Sample logs of lm-evaluation-harness: ``samples_<task>_<time>.jsonl``, as ``--log_samples`` writes them.

A question is the task's own record (``doc``) where a file of questions could have it, so that examples in a
prompt do not make it another question; else what the model was given. Sample logs tell no tokens: they are
estimated by length.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experts.catalogue.pricing import CHARACTERS_PER_TOKEN
from pipelines.importing.base import Imported, ImportNotes, ImportOptions
from pipelines.questions.loading.fields import open_record, read_question
from pipelines.questions.loading.question_file import Reading, answer_writings
from pipelines.questions.loading.records import read_records
from pipelines.questions.loading.report import LoadReport
from warehouse import InputError, question_id

_FILE = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
#: Which score counts where a sample has several and nobody says.
_METRICS = ("acc", "exact_match", "em", "pass@1", "f1")


def read(path: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    """Yield the answers of a file or folder; see :data:`pipelines.importing.base.Read`."""
    files = _files(path)
    if not files:
        raise InputError("no samples_*.jsonl", where=str(path), fix="run lm_eval with --log_samples")
    for file in files:
        yield from _read_file(file, options, notes)


def _files(path: Path) -> list[Path]:
    """Return the sample logs of a folder, the newest first: of two answers to a question the first counts."""
    if not path.is_dir():
        return [path]
    found = [file for file in path.rglob("samples_*.jsonl") if file.is_file()]
    return sorted(found, key=lambda file: (_named(file)[1], str(file)), reverse=True)


def _named(file: Path) -> tuple[str, str]:
    """Return the task and the time of a file, by its name."""
    match = _FILE.fullmatch(file.name)
    return (match["task"], match["time"]) if match else (file.stem.removeprefix("samples_"), "")


def _read_file(file: Path, options: ImportOptions, notes: ImportNotes) -> Iterator[Imported]:
    task, time = _named(file)
    model = _model_of(file, time)
    samples = _of_one_filter(file, notes)
    if not samples:
        return
    metric = options.metric or _choose_metric([sample for _, sample in samples])
    if metric is None:
        raise InputError(
            f"no score of {task} is from 0 to 1", where=str(file), fix="name the score with --metric"
        )
    for (where, sample), question in zip(samples, _questions(samples, task, options, notes), strict=True):
        if metric not in sample:
            told = ", ".join(map(str, sample.get("metrics") or ())) or "none"
            notes.faults.append(InputError(f"no score {metric!r}", where=where, fix=f"there is {told}"))
            continue
        asked, chosen, said = _arguments(sample), _chosen(sample), _said(sample)
        yield Imported(
            where=where,
            question=question,
            expert=model,
            score=sample[metric],
            text=said if chosen is None else asked[chosen][1].strip(),
            choice=chosen if metric == "acc" else None,
            prompt_tokens=_estimate(asked[0][0]) if asked else None,
            completion_tokens=1 if chosen is not None else _estimate(said or ""),
            grader=f"lm-eval:{metric}",
        )


def _model_of(file: Path, time: str) -> str:
    """Return the model's name, by the results beside the samples; else the folder's."""
    results = file.with_name(f"results_{time}.json")
    try:
        told = json.loads(results.read_text(encoding="utf-8"))
        name = told.get("model_name") or told["config"]["model_args"]
        return str(name) if name and isinstance(name, str) else file.parent.name
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return file.parent.name


def _of_one_filter(file: Path, notes: ImportNotes) -> list[tuple[str, dict[str, Any]]]:
    """Return the samples with their places; where answers are read in several ways, those of the first."""
    found: list[tuple[str, dict[str, Any]]] = []
    first: Any = None
    for place, sample in read_records(file):
        where = f"{file}, {place}"
        if "doc" not in sample and "arguments" not in sample:
            raise InputError(
                "no sample of lm-evaluation-harness", where=where, fix="give what --log_samples wrote"
            )
        name = sample.get("filter")
        first = name if not found else first
        if name == first:
            found.append((where, sample))
        else:
            notes.tell(f"{file.name}: answers are read by {first!r}; those by {name!r} are passed over")
    return found


def _choose_metric(samples: Sequence[Mapping[str, Any]]) -> str | None:
    there = list(dict.fromkeys(name for sample in samples for name in sample.get("metrics") or ()))
    if not there:  # older logs do not list them
        there = [name for name in _METRICS if name in samples[0]]
    ordered = [*(name for name in _METRICS if name in there), *there]
    return next((name for name in ordered if all(_is_share(s.get(name)) for s in samples)), None)


def _is_share(value: Any) -> bool:
    return isinstance(value, bool | int | float) and 0 <= value <= 1


def _questions(
    samples: Sequence[tuple[str, Mapping[str, Any]]],
    task: str,
    options: ImportOptions,
    notes: ImportNotes,
) -> list[dict[str, Any]]:
    named = {"source": options.source or task, "domain": task}
    try:
        return _by_documents(samples, named)
    except InputError as error:
        notes.tell(f"{task}: a question is what the model was given, as its records cannot be read: {error}")
        return [_as_given(sample, where) | named for where, sample in samples]


def _by_documents(
    samples: Sequence[tuple[str, Mapping[str, Any]]], named: Mapping[str, str]
) -> list[dict[str, Any]]:
    for where, sample in samples:
        if not isinstance(sample.get("doc"), dict):
            raise InputError("its record is none", where=where)
    opened = [open_record(dict(sample["doc"]), where=where) for where, sample in samples]
    writings = answer_writings(opened, Reading(), LoadReport())
    rows = [read_question(one, source=named["source"], writings=writings) for one in opened]
    for row, (where, sample) in zip(rows, samples, strict=True):
        given = _as_given(sample, where)
        if given.get("choices"):
            target = given["answer"]
            if len(row["choices"] or ()) != len(given["choices"]) or (target and row["answer"] != target):
                raise InputError("its options are not those that the model was given", where=where)
        elif row["choices"]:
            raise InputError("it has options, and the model was given none", where=where)
    kept = ("question_id", "prompt", "choices", "answer", "kind", "subject")
    return [{**{name: row[name] for name in kept}, **named} for row in rows]


def _as_given(sample: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a question as the model was given it: its context, and the continuations that were compared."""
    asked = _arguments(sample)
    if not asked or not asked[0][0].strip():
        raise InputError("nothing that the model was given", where=where, fix="log the samples again")
    prompt, target = asked[0][0], sample.get("target")
    if _chosen(sample) is None:
        reference = "" if target is None or isinstance(target, list | dict) else str(target).strip()
        return {"prompt": prompt, "answer": reference, "kind": "exact" if reference else "judged"}
    choices = [continuation.strip() for _, continuation in asked]
    index = str(target) if str(target).isdecimal() and int(str(target)) < len(choices) else ""
    index = index or (str(choices.index(str(target).strip())) if str(target).strip() in choices else "")
    identity = question_id(prompt, choices, index)
    return {"question_id": identity, "prompt": prompt, "choices": choices, "answer": index, "kind": "choice"}


def _arguments(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the model was given: contexts, and continuations or an empty text."""
    told = sample.get("arguments") or {}
    calls = list(told.values()) if isinstance(told, dict) else list(told)
    pairs = [list(call.values()) if isinstance(call, dict) else list(call) for call in calls]
    return [
        (str(pair[0]), pair[1] if len(pair) > 1 and isinstance(pair[1], str) else "")
        for pair in pairs
        if pair
    ]


def _chosen(sample: Mapping[str, Any]) -> int | None:
    """Return the likeliest continuation, where continuations were compared."""
    replies = sample.get("filtered_resps") or []
    if len(_arguments(sample)) < 2 or len(replies) != len(_arguments(sample)):
        return None
    try:
        likely = [float(reply[0]) for reply in replies]
    except (TypeError, ValueError, IndexError, KeyError):
        return None
    return max(range(len(likely)), key=likely.__getitem__)


def _said(sample: Mapping[str, Any]) -> str | None:
    value: Any = sample.get("resps")
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _estimate(text: str) -> int:
    return max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN))
