"""Segments: files of one line a record, appended by one writer each, from which lines can be taken out.

A line is taken out in place: its bytes become blanks, also while the writer goes on. So no second copy is
made of what stays, and nothing of what goes is left behind in a file that was replaced. Whatever was cut
short, a write or such an overwriting, is a line that is no JSON; the next :func:`take_out` blanks it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from warehouse.files import sync_folder

ENDING = ".jsonl"
FULL_BYTES = 64 << 20  # a segment of this size is followed by another
_BLANKS = b" " * (1 << 16)


@dataclass(frozen=True)
class Line:
    """A line that is not blank: where its bytes are, and its record; None where it was cut short."""

    start: int
    end: int
    record: dict[str, Any] | None


class SegmentWriter:
    """Appends lines to the segments of one process, below a folder for each day.

    A segment is locked for as long as it is written, by a lock that the system takes back when the process
    ends: a line without an end in a segment without a lock is the rest of a write that was cut short.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._day: date | None = None
        self._size = 0
        self._is_torn = False

    def append(self, day: date, lines: Sequence[bytes]) -> None:
        """Write lines, which hold no line break; they are on the device once this returns.

        Raises:
            OSError: they could not all be written, as on a full disk. Writing them again is right.
        """
        if self._file is None or day != self._day or self._size >= FULL_BYTES:
            self._begin(day)
        assert self._file is not None
        content = (b"\n" if self._is_torn else b"") + b"".join(line + b"\n" for line in lines)
        left = memoryview(content)
        self._is_torn = True
        while left:
            left = left[os.write(self._file, left) :]
        self._is_torn = False
        self._size += len(content)
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self, day: date) -> None:
        self.close()
        folder = self._folder / f"{day:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:12]}{ENDING}"
        hidden = path.with_name(f".{path.name}")  # it appears with its lock
        self._file = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        hidden.rename(path)
        sync_folder(folder)
        self._day, self._size, self._is_torn = day, 0, False


def list_segments(folder: Path) -> dict[Path, date]:
    """Return the segments with their days, the oldest first."""
    found = {}
    for path in sorted(folder.glob(f"*/*{ENDING}")):
        with suppress(ValueError):
            found[path] = date.fromisoformat(path.parent.name)
    return found


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a segment that are not blank; nothing where it is gone."""
    is_dead = not _is_written(path)
    at = 0
    try:
        with path.open("rb") as file:
            for content in file:
                start, at = at, at + len(content)
                if content.isspace():
                    continue
                if not content.endswith(b"\n") and not is_dead:
                    return  # it is being written
                yield Line(start, at, _record(content))
    except FileNotFoundError:
        return


def take_out(path: Path, is_gone: Callable[[dict[str, Any]], bool]) -> int:
    """Blank the lines whose record is gone, and those that were cut short; return how many were gone.

    A segment of which nothing is left, and which nobody writes, is removed.
    """
    spans, gone, is_left = [], 0, False
    for line in read_lines(path):
        is_out = line.record is None or is_gone(line.record)
        gone += is_out and line.record is not None
        is_left = is_left or not is_out
        if is_out:
            spans.append((line.start, line.end))
    if spans:
        _blank(path, spans)
    if not is_left and not _is_written(path):
        remove(path)
    return gone


def remove(path: Path) -> None:
    """Remove a segment, and the folder of its day where that was the last one."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _blank(path: Path, spans: Sequence[tuple[int, int]]) -> None:
    try:
        file = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        for start, end in spans:
            with_break = _last_byte(path, end) == b"\n"
            stop = end - 1 if with_break else end
            while start < stop:
                start += os.pwrite(file, _BLANKS[: stop - start], start)
        os.fsync(file)
    finally:
        os.close(file)


def _last_byte(path: Path, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(end - 1)
        return file.read(1)


def _record(content: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(content)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "request_id" in record else None


def _is_written(path: Path) -> bool:
    """Tell whether a living process holds a segment."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(file)
