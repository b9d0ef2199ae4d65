"""Recorded requests as ordinary questions, and what was served as ordinary answers to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from pipelines.learning.recorded_requests import RecordedRequests
from warehouse import ANSWERS, question_id
from warehouse.schemas import conform

SOURCE = "traffic"
#: The domain of requests that say no task.
NO_TASK = "traffic"
_ROLES = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


class RecordedText(Protocol):
    """The words of a request and of its answer."""

    @property
    def prompt_messages(self) -> Sequence[Mapping[str, Any]]:
        """What was asked, as chat messages."""

    @property
    def answer_text(self) -> str | None:
        """What was answered."""

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """The form that a field of the request asked for."""


Texts = Mapping[str, RecordedText]  # by request id


def question_of(text: RecordedText) -> str:
    """What others are asked: the conversation, after the JSON that a field of the request wants, in words.

    Whoever is asked by words alone has to know the schema.
    """
    prompt, wanted = prompt_of(text.prompt_messages), text.response_format
    if wanted is None or wanted.get("type") not in ("json_schema", "json_object"):
        return prompt
    told = wanted.get("json_schema")
    schema = told.get("schema") if isinstance(told, Mapping) else None
    if schema is None:
        return f"Answer with one JSON object and nothing else.\n\n{prompt}"
    words = json.dumps(schema, ensure_ascii=False, sort_keys=True)
    return f"Answer with JSON that is valid against this schema and nothing else: {words}\n\n{prompt}"


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Write a conversation as one text: a single message as it is, several under the names of who spoke.

    >>> prompt_of([{"role": "user", "content": "Hi"}])
    'Hi'
    >>> prompt_of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    'Be brief.\\n\\nHi'
    """
    told = [(str(message.get("role", "user")), text_of(message.get("content"))) for message in messages]
    told = [(role, text) for role, text in told if text.strip()]
    if sum(role not in ("system", "developer") for role, _ in told) <= 1:
        return "\n\n".join(text for _, text in told)
    return "\n\n".join(f"{_ROLES.get(role, role)}: {text}" for role, text in told) + "\n\nAssistant:"


def text_of(content: Any) -> str:
    """The words in a message's content: a text, or parts of which some are texts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def question_rows(requests: RecordedRequests, texts: Texts, *, round: str) -> pa.Table:
    """QUESTIONS rows of kind ``judged``, one for each request [n]; a demonstration is the reference answer.

    Requests that say the same are one question: its ``parent_id`` is the first of them.

    Args:
        requests: whose texts are there.
        texts: theirs.
        round: kept on the rows.
    """
    n = len(requests)
    ids, tasks = (requests.column(name) for name in ("request_id", "task"))
    prompts = [question_of(texts[str(name)]) for name in ids]
    answers = [answer or "" for answer in requests.demonstrations]
    columns = {
        "question_id": [question_id(p, None, a) for p, a in zip(prompts, answers, strict=True)],
        "source": [SOURCE] * n,
        "domain": [str(task) if task else NO_TASK for task in tasks],
        "prompt": prompts,
        "answer": answers,
        "kind": ["judged"] * n,
        "round": [round] * n,
        "parent_id": ids,
    }
    return conform("questions", pa.table({name: pa.array(own) for name, own in columns.items()}))


def served_rows(requests: RecordedRequests, questions: pa.Table, texts: Texts) -> pa.Table:
    """ANSWERS rows of what was served: paid when it was, and in the round of that day.

    Requests that name no version of their expert, or whose answer was not recorded, give none.
    """
    taken = (
        "expert",
        "expert_version",
        "prompt_tokens",
        "completion_tokens",
        "latency_s",
        "round",
        "created_at",
    )
    columns: dict[str, list[Any]] = {name: list(requests.column(name)) for name in taken}
    ids = requests.column("request_id")
    columns["cost_usd"] = list(requests.column("answer_cost_usd"))
    columns["question_id"] = questions["question_id"].to_pylist()
    columns["text"] = [texts[str(name)].answer_text for name in ids]
    columns["run_id"] = [f"request:{name}" for name in ids]
    rows = pa.table({f.name: pa.array(columns[f.name], f.type) for f in ANSWERS if f.name in columns})
    whole = [bool(version and text) for version, text in
             zip(columns["expert_version"], columns["text"], strict=True)]  # fmt: skip
    return rows.filter(pa.array(whole, pa.bool_()))
