"""How long texts are kept, what an endpoint said of that, and the end of their time."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from warehouse.store import Warehouse
from warehouse.traffic.derived import Removed, find_old_questions, remove_derived, take_out_old_words
from warehouse.traffic.texts import TextStore

DEFAULT_DAYS = 30
_FILE = "traffic/recording.json"


@dataclass(frozen=True)
class RecordingKept:
    """What the endpoint of a home records, as it was started last.

    Attributes:
        mode: none, features or texts: the most that any of its keys may have recorded.
        keep_days: that texts are kept.
        is_sealed: whether they are encrypted.
        is_redacted: whether personal data that has a form is taken out of them.
    """

    mode: str
    keep_days: int = DEFAULT_DAYS
    is_sealed: bool = False
    is_redacted: bool = False


@dataclass(frozen=True)
class Expired:
    """What is gone: texts, rows that lost their words or held served ones, rows of shadow questions."""

    texts: int
    words: int
    removed: Removed

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing."""
        return not (self.texts or self.words or any(self.removed.rows.values()))


def expire(home: Path, warehouse: Warehouse, keep_days: int, now: datetime | None = None) -> Expired:
    """Remove what is older than so many days and holds words: texts, what people wrote, shadow questions."""
    before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    old = find_old_questions(warehouse, before)
    removed = remove_derived(warehouse, old) if old.question_ids else Removed({}, 0)
    return Expired(TextStore(home).expire(before), take_out_old_words(warehouse, before), removed)


def note_recording(home: Path, kept: RecordingKept) -> None:
    """Write down what an endpoint records, for `leeroo doctor` and for who removes what is old."""
    path = home / _FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(asdict(kept), file)
    beside.replace(path)


def read_recording(home: Path) -> RecordingKept | None:
    """Return what the endpoint of a home records; None where none was started yet."""
    try:
        told = json.loads((home / _FILE).read_text())
        return RecordingKept(**told)
    except (FileNotFoundError, ValueError, TypeError):
        return None
