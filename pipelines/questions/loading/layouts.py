"""Bring what known data sets do in a way of their own under the columns that are read."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from experts.catalogue.options import is_missing, options_in_columns, plain_name
from experts.grading.markup import find_boxes, unwrap
from pipelines.questions.loading.columns import NAMES, found_in
from warehouse import InputError

Record = dict[str, Any]

_RIGHT = ("correctanswer", "bestanswer", "rightanswer", "answer")
_WRONG_LISTS = ("incorrectanswers", "wronganswers", "distractors")
_WRONG = re.compile(r"(?:incorrectanswer|wronganswer|distractor)\d{0,2}|bestincorrectanswer")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant"}
_BOILERPLATE = re.compile(
    r"\s*you are (?:a|an) (?:\w+,? ){0,4}(?:assistant|ai|model)\b[^.]*\.?\s*", re.IGNORECASE
)


def adapt(record: Mapping[str, Any], where: str) -> Record:
    """Return a record with its question, options and answer where they are looked for.

    What is read besides plain columns: chat messages, a question within an object, solutions that end in
    ``#### 8`` or ``\\boxed{8}``, wrong answers in columns or a list of their own, spans of reading sets, and
    the ways of WinoGrande, PIQA, HellaSwag, COPA, SVAMP, BoolQ and TruthfulQA.

    Raises:
        InputError: a message that is not text (an image).
    """
    out = dict(record)
    for step in (
        _unfold,
        _messages,
        _named_otherwise,
        _worked_solutions,
        _spans,
        _wrong_answers,
        _truth_values,
    ):
        step(out, where)
    return out


def _unfold(record: Record, where: str) -> None:
    """A question that is an object: ``{"stem": ..., "choices": [...]}``; RL sets' ``reward_model``."""
    question = record.get("question")
    if isinstance(question, Mapping) and "stem" in question:
        record.update(
            {"choices": question.get("choices", record.get("choices")), "question": question["stem"]}
        )
    reward = record.get("reward_model")
    if isinstance(reward, Mapping) and "ground_truth" in reward:
        record.setdefault("answer", reward["ground_truth"])


def _messages(record: Record, where: str) -> None:
    for name in ("messages", "conversations", "conversation", "prompt", "input"):
        turns = record.get(name)
        if isinstance(turns, list) and turns and all(isinstance(turn, Mapping) for turn in turns):
            break
    else:
        for name in NAMES["prompt"]:
            if isinstance(record.get(name), list):
                record[name] = content_text(record[name], f"{where}, field {name}")
        return
    said: list[tuple[str, str]] = []
    for turn in turns:
        role = str(turn.get("role", turn.get("from", ""))).casefold()
        text = content_text(turn.get("content", turn.get("value", "")), f"{where}, field {name}")
        if text.strip():
            said.append((_ROLES.get(role, role), text))
    if not any(role in ("user", "assistant", "system") for role, _ in said):
        return
    del record[name]
    if said[-1][0] == "assistant":
        if not found_in(record, "answer"):
            record["answer"] = said[-1][1]
        said.pop()
    said = [(role, text) for role, text in said if role != "system" or not _BOILERPLATE.fullmatch(text)]
    spoken = [role for role, _ in said if role != "system"]
    texts = [
        text if len(spoken) == 1 or role == "system" else f"{role.title()}: {text}" for role, text in said
    ]
    record["prompt"] = "\n\n".join(texts)


def content_text(content: Any, where: str) -> str:
    """Return the text of a message's content, which may be a list of parts.

    Raises:
        InputError: a part is no text.
    """
    if isinstance(content, str) or content is None:
        return content or ""
    if isinstance(content, list) and all(isinstance(part, str) for part in content):
        return "\n".join(content)
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
        odd = next(part for part in content if not isinstance(part.get("text"), str))
        raise InputError(f"a part of type {odd.get('type')!r} is no text", where=where, fix="leave it out")
    raise InputError(f"content is {type(content).__name__}, not text", where=where, fix="write it as text")


def _named_otherwise(record: Record, where: str) -> None:
    plain = {plain_name(str(name)): name for name in record if not is_missing(record[name])}

    def take(name: str) -> Any:
        return record.get(plain[name]) if name in plain else None

    def drop(*names: str) -> None:
        for name in names:
            if name in plain:
                record.pop(plain[name], None)

    asked = bool(found_in(record, "prompt"))
    if {"goal", "sol1", "sol2"} <= plain.keys():  # PIQA
        record["prompt"] = record.pop(plain["goal"])
    elif {"sentence", "option1", "option2"} <= plain.keys() and not asked:  # WinoGrande
        record["prompt"] = record.pop(plain["sentence"])
    elif "endings" in plain and ("ctx" in plain or "ctxa" in plain) and not asked:  # HellaSwag
        parts = [take("ctx")] if "ctx" in plain else [take("ctxa"), take("ctxb")]
        record["prompt"] = " ".join(part for part in parts if part)
        drop("ctx", "ctxa", "ctxb")
    elif {"premise", "choice1", "choice2"} <= plain.keys():  # COPA
        relation = str(take("question") or "effect")
        record["question"] = f"{record.pop(plain['premise'])}\nWhat was the {relation} of this?"
    elif "body" in plain and asked:  # SVAMP, ASDiv
        record["context"] = record.pop(plain["body"])
    elif "instruction" in plain:
        instruction = str(record.pop(plain["instruction"]))
        given = str(take("input") or "")
        record["prompt"] = f"{instruction}\n\n{given}".strip()
        drop("input")
        if not found_in(record, "answer") and "output" in plain:
            record["answer"] = record.pop(plain["output"])
    if "support" in plain and any(name.startswith("distractor") for name in plain):  # SciQ
        record["context"] = record.pop(plain["support"])
    if "problem" in plain and "type" in plain and "subject" not in plain:  # MATH
        record["subject"] = record.pop(plain["type"])
        drop("level")
    answers = take("answers")
    if not found_in(record, "choices") and found_in(record, "answer") and _are_texts(answers):
        record["choices"] = record.pop(plain["answers"])  # ReClor: the answers to choose from


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)


def _worked_solutions(record: Record, where: str) -> None:
    """GSM8K works a solution out and marks the result with ``####``; MATH boxes it."""
    for name, value in found_in(record, "answer")[:1]:
        if isinstance(value, str) and "####" in value:
            record[name] = value.rsplit("####", 1)[1].strip().split("\n", 1)[0].replace(",", "")
    solution = record.get("solution")
    if isinstance(solution, str) and not found_in(record, "answer"):
        if boxes := find_boxes(solution, most=1):
            record["answer"] = unwrap(boxes[-1][1])
        elif "####" in solution:
            record["answer"] = solution.rsplit("####", 1)[1].strip().replace(",", "")
        else:
            return
        del record["solution"]


def _spans(record: Record, where: str) -> None:
    """The answers of reading sets: SQuAD's texts, DROP's spans, numbers and dates, TriviaQA's value."""
    for name in ("answer", "answers_spans", "answers", "Answer", "short_answers"):
        value = record.get(name)
        if isinstance(value, list) and _are_several(value) and _has_options(record, where):
            continue  # more than one option is right
        stated = _first_answer(value) if isinstance(value, Mapping | list) else None
        if stated is not None and not (name != "answer" and found_in(record, "answer")):
            del record[name]
            record["answer"] = stated
            return


def _are_several(value: list[Any]) -> bool:
    return len({str(item).strip() for item in value if not isinstance(item, Mapping | list)}) > 1


def _has_options(record: Record, where: str) -> bool:
    if found_in(record, "choices"):
        return True
    try:
        return options_in_columns(record, where) is not None
    except InputError:  # said when they are read
        return True


def is_unanswerable(record: Mapping[str, Any]) -> bool:
    """Tell whether a record of a reading set says that its text does not answer the question.

    SQuAD 2 says so by ``is_impossible`` in its own files, and by a list of no texts elsewhere.
    """
    if record.get("is_impossible") is True:
        return True
    stated = record.get("answers")
    texts = stated.get("text") if isinstance(stated, Mapping) else None
    return isinstance(texts, list) and not texts and not found_in(record, "answer")


def _first_answer(value: Mapping[str, Any] | Sequence[Any]) -> str | None:
    if isinstance(value, Mapping):
        for key in ("value", "text", "spans", "number"):
            inner = value.get(key)
            if isinstance(inner, list):
                inner = inner[0] if inner else None
            if not is_missing(inner):
                return str(inner)
        date = value.get("date")
        parts = (
            [str(date[k]) for k in ("day", "month", "year") if date.get(k)]
            if isinstance(date, Mapping)
            else []
        )
        return " ".join(parts) or None
    for item in value:
        if isinstance(item, Mapping) and (stated := _first_answer(item)) is not None:
            return stated
        if isinstance(item, str | int | float) and not isinstance(item, bool):
            return str(item)
    return None


def _wrong_answers(record: Record, where: str) -> None:
    """Wrong answers beside the right one; their order then follows from the question alone."""
    targets = record.get("mc1_targets")
    if isinstance(targets, Mapping) and 1 in list(targets.get("labels") or ()):
        texts = list(targets["choices"])
        right = texts[list(targets["labels"]).index(1)]
        _offer(record, right, [text for text in texts if text != right], [])
        return
    if found_in(record, "choices"):
        return
    plain = {plain_name(str(name)): name for name in record if not is_missing(record[name])}
    right = next((record[plain[name]] for name in _RIGHT if name in plain), None)
    if not isinstance(right, str):
        return
    for name in _WRONG_LISTS:
        wrong = record[plain[name]] if name in plain else None
        if isinstance(wrong, str):
            wrong = [part.strip() for part in wrong.split(";")]
        if isinstance(wrong, list) and wrong and all(isinstance(text, str) for text in wrong):
            _offer(record, right, wrong, [plain[name]])
            return
    names = [name for key, name in plain.items() if _WRONG.fullmatch(key) and isinstance(record[name], str)]
    if names:
        _offer(record, right, [record[name] for name in names], names)


def _offer(record: Record, right: str, wrong: list[str], used: list[str]) -> None:
    choices = sorted({right.strip(), *(text.strip() for text in wrong if text.strip())})
    asked = found_in(record, "prompt")
    random.Random(str(asked[0][1]) if asked else "").shuffle(choices)
    for name in [*used, *(name for name, _ in found_in(record, "answer"))]:
        record.pop(name, None)
    for name in [name for name in record if plain_name(str(name)) in _RIGHT]:
        del record[name]
    record.update({"choices": choices, "answer": right.strip()})


def _truth_values(record: Record, where: str) -> None:
    """A question that is answered by true or false (BoolQ) is a choice of no and yes."""
    if found_in(record, "choices"):
        return
    for name, value in found_in(record, "answer")[:1]:
        if isinstance(value, bool):
            record.update({name: ("no", "yes")[value], "choices": ["no", "yes"]})
