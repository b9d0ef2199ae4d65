"""Files of queries to route: JSONL (OpenAI's batch format too), Parquet or plain text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse import InputError, router_text

READ = (".jsonl", ".parquet", ".txt")
WRITTEN = (".jsonl", ".parquet")


@dataclass(frozen=True)
class QueryFile:
    """Queries in the order of their file."""

    texts: tuple[str, ...]  # [n] what the router reads
    records: tuple[dict[str, Any], ...]  # [n] as they were read
    #: [n] who answered, and what the answer cost, of records with `expert` and `paid_usd`; else None
    paid: tuple[tuple[str, float] | None, ...] = ()


@dataclass(frozen=True)
class Routing:
    """The decision on one query."""

    expert: str
    expected_success: float
    expected_cost_usd: float


def read_query_file(path: Path) -> QueryFile:
    """Read a file of queries.

    A record has a ``prompt`` (with ``choices`` if it is a choice), or ``messages``, or a ``body`` with
    either, as in OpenAI's batch files. In a text file each line is a prompt. A record with ``expert`` and
    ``paid_usd`` has been answered, at that cost.

    Raises:
        InputError: the file is missing, empty or of another kind, or a record has no text or an invalid cost.
            Names the line.
    """
    if path.suffix not in READ:
        raise InputError(f"cannot read {path.suffix or 'a file without suffix'}", where=str(path),
                         fix=f"give one of {', '.join(READ)}")  # fmt: skip
    if not path.is_file():
        raise InputError("no such file", where=str(path))
    records, texts, paid = [], [], []
    for number, record in _records(path):
        text = _text_of(record)
        if text is None:
            raise InputError("no prompt and no message with a text", where=f"{path}:{number}")
        records.append(record)
        texts.append(text)
        paid.append(_payment_of(record, f"{path}:{number}"))
    if not records:
        raise InputError("the file holds no query", where=str(path))
    return QueryFile(tuple(texts), tuple(records), tuple(paid))


def write_routing(path: Path, queries: QueryFile, routing: Sequence[Routing]) -> None:
    """Write the records with ``expert``, ``expected_success`` and ``expected_cost_usd``.

    A ``body`` gets the expert as its model. The file is written atomically.

    Raises:
        InputError: the file's kind cannot be written.
    """
    if path.suffix not in WRITTEN:
        raise InputError(f"cannot write {path.suffix or 'a file without suffix'}", where=str(path),
                         fix=f"name one of {', '.join(WRITTEN)}")  # fmt: skip
    rows = [
        _with_model(record, routed.expert) | vars(routed)
        for record, routed in zip(queries.records, routing, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.Table.from_pylist(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"the records do not fit in one table: {error}", where=str(path), fix="write .jsonl"
            ) from error
        pq.write_table(table, scratch)
    else:
        with scratch.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    scratch.replace(path)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line or row number, and the record."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except pa.ArrowInvalid as error:
            raise InputError(f"not a Parquet file: {error}", where=str(path)) from error
        yield from enumerate(rows, start=1)
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error}", where=str(path)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            yield number, {"prompt": line}
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON: {error}", where=f"{path}:{number}") from error
        if not isinstance(record, dict):
            raise InputError("not a JSON object", where=f"{path}:{number}")
        yield number, record


def _text_of(record: dict[str, Any]) -> str | None:
    body = record.get("body")
    asked = body if isinstance(body, dict) else record
    prompt, choices, messages = asked.get("prompt"), asked.get("choices"), asked.get("messages")
    if isinstance(prompt, str) and prompt.strip():
        return router_text(prompt, [str(choice) for choice in choices] if choices else None)
    spoken = [(m.get("role"), _words(m.get("content"))) for m in messages or () if isinstance(m, dict)]
    texts = [(role, text) for role, text in spoken if text.strip()]
    by_user = [text for role, text in texts if role == "user"]
    return by_user[-1] if by_user else texts[-1][1] if texts else None


def _payment_of(record: dict[str, Any], where: str) -> tuple[str, float] | None:
    """Who answered a record, and at what cost."""
    paid_usd, expert = record.get("paid_usd"), record.get("expert")
    if paid_usd is None:
        return None
    is_cost = isinstance(paid_usd, int | float) and not isinstance(paid_usd, bool) and math.isfinite(paid_usd)
    if not is_cost or paid_usd < 0 or not isinstance(expert, str):
        raise InputError(
            f"`paid_usd` is {paid_usd!r} and `expert` is {expert!r}",
            where=where,
            fix="give what the answer cost, in USD, and who gave it; or neither",
        )
    return expert, float(paid_usd)


def _words(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, list):
        return "\n".join(
            str(p["text"]) for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def _with_model(record: dict[str, Any], expert: str) -> dict[str, Any]:
    body = record.get("body")
    return record | {"body": body | {"model": expert}} if isinstance(body, dict) else record
