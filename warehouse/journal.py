"""Journals: records that must outlive a kill the moment they are written, one writer a journal.

On local disk a journal is one file that grows, flushed to the device at each write; what waits meanwhile goes
out together with the next flush. A lock, which the system takes back when the writer dies, tells whether it
still writes. On an object store, which cannot append, each flush is an object of its own, and no lock tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from warehouse.files import FileStore, sync_folder

_ENDING = ".jsonl"


class Journal:
    """Appends JSON records; safe to use from many threads.

    Args:
        files: where the journal is kept.
        name: its path below the root, without an ending; no other writer may ever have had it.
    """

    def __init__(self, files: FileStore, name: str) -> None:
        self.name = name
        self._files = files
        self._pending: list[bytes] = []
        self._taken = self._flushed = self._parts = 0
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._descriptor: int | None = None
        if _is_local(files):
            path = Path(files.path(name + _ENDING))
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(path, flags, mode=0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            _keep_name(path.parent)

    def write(self, record: dict[str, Any], *, wait: bool = True) -> None:
        """Append a record; once this returns it is there for good. Without ``wait``, with the next flush.

        Raises:
            OSError: it could not be written (disk full). What had been written before stays readable.
        """
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            self._pending.append(line)
            self._taken += 1
            ticket = self._taken
        if wait:
            self._flush(ticket)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            ticket = self._taken
        self._flush(ticket)

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self.flush()
        with self._turn:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _flush(self, ticket: int) -> None:
        with self._turn:
            if self._flushed >= ticket:  # went out with another's
                return
            with self._lock:
                lines, last = self._pending, self._taken
                self._pending = []
            try:
                self._put(b"".join(lines))
            except BaseException:
                # The next try begins on a line of its own, whatever of this one has been written.
                with self._lock:
                    self._pending = [b"\n", *lines, *self._pending]
                raise
            self._flushed = last

    def _put(self, data: bytes) -> None:
        if self._descriptor is None:
            self._parts += 1
            self._files.write(f"{self.name}/{self._parts:08}{_ENDING}", data)
            return
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fsync(self._descriptor)


def list_journals(files: FileStore, folder: str, *, depth: int) -> list[str]:
    """Return the names of the journals below a folder, which lie so many folders deep in it."""
    place = folder.count("/") + 1 + depth
    paths = (path for path in files.list(folder, recursive=True) if path.endswith(_ENDING))
    return sorted({"/".join(path.removesuffix(_ENDING).split("/")[: place + 1]) for path in paths})


def read_journal(files: FileStore, name: str) -> Iterator[dict[str, Any]]:
    """Yield the records in their order; what a kill tore is passed over."""
    parts = sorted(path for path in files.list(name) if path.endswith(_ENDING)) or [name + _ENDING]
    for part in parts:
        try:
            lines = files.read(part).split(b"\n")
        except FileNotFoundError:  # another has taken it in
            continue
        for line in lines:
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record


def delete_journal(files: FileStore, name: str) -> None:
    """Remove a journal; nothing happens where it is gone already."""
    for part in files.list(name):
        files.delete(part)
    files.delete(name + _ENDING)


@contextlib.contextmanager
def claim_journal(files: FileStore, name: str) -> Iterator[bool]:
    """Tell whether nobody writes a journal any more, and keep others off it meanwhile.

    True on an object store, where nothing tells: keep to one writer there.
    """
    if not _is_local(files):
        yield True
        return
    try:
        descriptor = os.open(files.path(name + _ENDING), os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _keep_name(folder: Path) -> None:
    """Flush a folder's new name to the device, and those of the folders above that may be new as well."""
    for place in (folder, *list(folder.parents)[:3]):
        sync_folder(place)


def _is_local(files: FileStore) -> bool:
    return isinstance(files.filesystem, pafs.LocalFileSystem)
