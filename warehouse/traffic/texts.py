"""The words of requests and answers, where they may be kept: ``HOME/traffic/texts``, and nowhere else.

One JSON line a request: what tells whose it is stands open, so that it can be found and removed without any
key; the words are sealed where there is one. See :mod:`warehouse.traffic.segments` for how lines come and go.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warehouse.traffic.sealing import Seal, read_seal, wrong_key
from warehouse.traffic.segments import SegmentWriter, list_segments, read_lines, remove, take_out
from warehouse.traffic.selection import Selection, moment

TEXTS_FOLDER = "traffic/texts"
_SEALED_BY = "sealed-by"  # names the key that sealed last


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class RecordedText:
    """What was asked and answered.

    Attributes:
        request_id: names the request.
        prompt_messages: the conversation, in OpenAI's shape.
        answer_text: the answer's first choice.
        expert: who answered.
        key_id: whose request it is; None where the endpoint is open.
        user_hash: keyed hash of the request's user.
        created_at: when it was answered.
        response_format: the form that the request asked for by that field, in OpenAI's shape.
    """

    request_id: str
    prompt_messages: list[dict[str, Any]] = field(repr=False)
    answer_text: str = field(repr=False)
    expert: str
    key_id: str | None = None
    user_hash: str | None = None
    created_at: datetime = field(default_factory=_now)
    response_format: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class TextsHeld:
    """What lies there: texts, how many of them plain, bytes on disk, and when the oldest one is from."""

    texts: int
    plain: int
    size_bytes: int
    oldest: datetime | None


class TextStore:
    """Keeps texts, gives them back, and removes them.

    Args:
        home: the home's folder.
        seal: closes and opens the texts: that of the environment where none is given. Without any they are
            plain, and sealed ones cannot be read.
    """

    def __init__(self, home: Path, seal: Seal | None = None) -> None:
        self.folder = home / TEXTS_FOLDER
        self._given = seal
        self._writer = SegmentWriter(self.folder)
        self._is_checked = False

    @functools.cached_property
    def _seal(self) -> Seal | None:
        return self._given or read_seal()

    def append(self, rows: Sequence[RecordedText]) -> None:
        """Keep texts; they are on the device once this returns. Of two with one id the last counts.

        Raises:
            InputError: what lies here is sealed with another key, or with one where none is given.
            OSError: they could not be written. Doing it again is right.
        """
        if not self._is_checked:
            self.check()
            self._mark()
            self._is_checked = True
        by_day: dict[Any, list[bytes]] = {}
        for row in rows:
            by_day.setdefault(row.created_at.astimezone(UTC).date(), []).append(self._to_line(row))
        for day, lines in sorted(by_day.items()):
            self._writer.append(day, lines)

    def read(self, request_ids: Collection[str]) -> dict[str, RecordedText]:
        """Return the texts of these requests that are here.

        Raises:
            InputError: one is sealed with another key, or with one where none is given.
        """
        wanted = frozenset(request_ids)
        return {text.request_id: text for text in self.scan(Selection(wanted))} if wanted else {}

    def scan(self, selection: Selection) -> Iterator[RecordedText]:
        """Yield the texts that are meant, as they were written.

        Raises:
            InputError: as :meth:`read`.
        """
        for path in list_segments(self.folder):
            for line in read_lines(path):
                if line.record is not None and selection.holds(line.record):
                    yield self._to_text(line.record, path)

    def find(self, selection: Selection) -> set[str]:
        """Return the ids of the requests that are meant; needs no key."""
        return {
            line.record["request_id"]
            for path in list_segments(self.folder)
            for line in read_lines(path)
            if line.record is not None and selection.holds(line.record)
        }

    def forget(self, selection: Selection) -> int:
        """Remove the texts that are meant, and what writes that were cut short left; return how many.

        Needs no key, and may be done while others write.
        """
        gone = sum(take_out(path, selection.holds) for path in list_segments(self.folder))
        self._tidy()
        return gone

    def expire(self, before: datetime) -> int:
        """Remove what was answered before a moment; return how many texts that were."""
        day, gone = before.astimezone(UTC).date(), 0
        for path, written in list_segments(self.folder).items():
            if written < day:  # all of it is older
                gone += sum(line.record is not None for line in read_lines(path))
                remove(path)
            elif written == day:
                gone += take_out(path, Selection(before=before).holds)
        self._tidy()
        return gone

    def held(self) -> TextsHeld:
        """Look at what lies here; needs no key."""
        records = [
            line.record
            for path in list_segments(self.folder)
            for line in read_lines(path)
            if line.record is not None
        ]
        size = sum(path.stat().st_size for path in list_segments(self.folder) if path.exists())
        oldest = min((moment(record["created_at"]) for record in records), default=None)
        return TextsHeld(len(records), sum("text" in record for record in records), size, oldest)

    def check(self) -> None:
        """See that texts may be added with this key.

        Raises:
            InputError: what lies here is sealed with another key, or with one where none is given.
        """
        try:
            last = (self.folder / _SEALED_BY).read_text().strip()
        except FileNotFoundError:
            return
        if last and (self._seal is None or last not in self._seal.fingerprints):
            raise wrong_key(last, str(self.folder), has_key=self._seal is not None)

    def close(self) -> None:
        """Let go of the segment that is written."""
        self._writer.close()

    def _mark(self) -> None:
        if self._seal is not None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = self.folder / f".{_SEALED_BY}.{os.getpid()}"
            with open(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
                file.write(self._seal.fingerprints[0])
            beside.replace(self.folder / _SEALED_BY)

    def _tidy(self) -> None:
        if not list_segments(self.folder):  # nothing is sealed with any key any more
            (self.folder / _SEALED_BY).unlink(missing_ok=True)
            self._is_checked = False

    def _to_line(self, row: RecordedText) -> bytes:
        words: dict[str, Any] = {
            "messages": row.prompt_messages,
            "answer": row.answer_text,
            "expert": row.expert,
        }
        if row.response_format is not None:
            words["response_format"] = row.response_format
        record: dict[str, Any] = {
            "request_id": row.request_id,
            "created_at": row.created_at.astimezone(UTC).isoformat(),
            "key_id": row.key_id,
            "user_hash": row.user_hash,
        }
        if self._seal is None:
            return json.dumps(record | {"text": words}).encode()
        sealed, by = self._seal.close(json.dumps(words | {"request_id": row.request_id}).encode())
        return json.dumps(record | {"sealed": sealed, "by": by}).encode()

    def _to_text(self, record: dict[str, Any], path: Path) -> RecordedText:
        words = record.get("text")
        if words is None:
            if self._seal is None:
                raise wrong_key(record["by"], str(self.folder), has_key=False)
            words = json.loads(self._seal.open(record["sealed"], record["by"], str(path)))
        return RecordedText(
            record["request_id"],
            words["messages"],
            words["answer"],
            words["expert"],
            record["key_id"],
            record["user_hash"],
            moment(record["created_at"]),
            words.get("response_format"),
        )
