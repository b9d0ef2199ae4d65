"""Rows of the traffic between an answer and its settlement, in a file that outlives the process.

An answer waits for no settlement, so a process that is killed right after an answer takes with it what the
ledger has not heard yet. Its row is therefore appended here first: to the page cache, which a kill of the
process does not touch, and not to the disk itself. Where the ledger has it, the file is emptied. Each process
has a file of its own, and locks it for its life: whoever finds one without a lock finds the rows of the dead.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from serve.ledger.messages import TrafficRecord

logger = logging.getLogger("ray.serve")

SPOOL_FOLDER = "spool"
_HEAD = struct.Struct(">IIII")  # bytes of the three parts, and their checksum
_FULL_BYTES = 1 << 20  # a file of this size is followed by another


class _File:
    """One file of a spool, and the requests whose rows wait in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: set[str] = set()
        self.size = 0
        hidden = path.with_name(f".{path.name}")  # it appears with its lock
        self._file = os.open(hidden, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        hidden.rename(path)

    def append(self, content: bytes) -> None:
        self.size += os.write(self._file, content)

    def empty(self) -> None:
        os.ftruncate(self._file, 0)
        self.size = 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._file)


class Spool:
    """The rows of one process that the ledger has not acknowledged."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Keep files in ``folder``, made with the first row, under the name of ``owner``."""
        self._folder, self._owner = folder, owner
        self._files: list[_File] = []  # the last one is written to
        self._made = 0
        self._is_told = False

    def keep(self, request_id: str, records: Sequence[TrafficRecord]) -> None:
        """Write down the rows of a request. Where that cannot be, it is logged once, and work goes on."""
        if not records:
            return
        try:
            if not self._files or self._files[-1].size >= _FULL_BYTES:
                self._begin()
            file = self._files[-1]
            file.waiting.add(request_id)
            file.append(b"".join(map(_pack, records)))
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                logger.warning(
                    "rows of the traffic cannot be written to %s (%s): a kill would lose the last of them",
                    self._folder,
                    error.strerror,
                )

    def settled(self, request_id: str) -> None:
        """Forget the rows of a request: the ledger has them."""
        for file in self._files:
            if request_id in file.waiting:
                file.waiting.discard(request_id)
                if not file.waiting:
                    self._end(file)
                return

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._made += 1
        self._files.append(_File(self._folder / f"{self._owner}-{self._made}"))

    def _end(self, file: _File) -> None:
        try:
            if file is self._files[-1]:
                file.empty()
            else:
                self._files.remove(file)
                file.remove()
        except OSError:  # its rows come to the ledger twice, which takes them once
            logger.warning("the file %s cannot be emptied", file.path)


def find_rows_of_the_dead(folder: Path) -> Iterator[tuple[Path, list[TrafficRecord]]]:
    """Yield the files whose process has ended, with their rows; each is removed when the next is asked for.

    A row that was half written ends its file: its answer had not been given.
    """
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path, list(_unpack(path.read_bytes()))
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its process lives
        finally:
            os.close(file)


def _pack(record: TrafficRecord) -> bytes:
    parts = record.content, record.embedding, record.surface
    body = b"".join(parts)
    return _HEAD.pack(*map(len, parts), zlib.crc32(body)) + body


def _unpack(content: bytes) -> Iterator[TrafficRecord]:
    at = 0
    while at + _HEAD.size <= len(content):
        *sizes, checksum = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        body = content[at : at + sum(sizes)]
        if len(body) < sum(sizes) or zlib.crc32(body) != checksum:
            return
        row, embedding = body[: sizes[0]], body[sizes[0] : sizes[0] + sizes[1]]
        yield TrafficRecord(
            str(orjson.loads(row)["request_id"]), row, embedding, body[len(row) + len(embedding) :]
        )
        at += len(body)
