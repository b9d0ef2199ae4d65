"""The manifest: which data files of a table count, as a log of numbered commits.

A commit is one small JSON file. It is written after its data files, never before, under the next number and
only if nobody has taken that number meanwhile: two writers never both commit on the same state of the table.
Entries from before there were numbers are named like their data file and count as the oldest.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from warehouse.errors import InputError
from warehouse.files import FileStore

#: Of a commit's layout. A reader refuses a higher one.
FORMAT = 2
#: With so many commits to read, the next one holds the whole state.
WHOLE_AFTER = 64
#: Commits that a whole one has made needless are kept this long: a writer that looked before it may still
#: be about to take a number, and must find it taken.
KEEP_COMMITS_S = 3600.0
#: A writer that looked longer ago than this looks again before it commits.
LOOK_LASTS_S = 600.0
#: What is said of a commit that this version cannot read.
NEWER = "a newer version wrote this entry"
_DIGITS = 12


@dataclass(frozen=True)
class ManifestEntry:
    """One committed data file: its path below the root, rows, partition and schema version.

    ``sha256`` is that of the file's bytes, ``footer`` that of its end, which says where each column is and
    has no checksum in the file itself; these and the size are None in entries from before they were kept.
    """

    path: str
    rows: int
    round: str
    expert: str | None
    schema: int
    sha256: str | None = None
    footer: str | None = None
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending: what commits call it."""
        return PurePosixPath(self.path).stem

    def seal(self, content: bytes) -> ManifestEntry:
        """Return the entry with the size and the checksums of its file's bytes."""
        end = sha256(content[-footer_size(content) :])
        return replace(self, sha256=sha256(content), footer=end, size_bytes=len(content))


def sha256(content: bytes) -> str:
    """Hash bytes, as hex digits."""
    return hashlib.sha256(content).hexdigest()


def footer_size(end: bytes) -> int:
    """Bytes of the end of a Parquet file, as its last 8 tell: what describes its columns, and these 8."""
    return int.from_bytes(end[-8:-4], "little") + 8


@dataclass(frozen=True)
class Commit:
    """One step of the log: files that count from here on, names of files that no longer do.

    A ``whole`` commit is the state itself: what came before it need not be read.
    """

    files: tuple[ManifestEntry, ...]
    replaces: tuple[str, ...] = ()
    whole: bool = False


@dataclass
class _State:
    """The log up to its last commit."""

    chain: tuple[str, ...] = ()  # ids of the commits in their order, from the last whole one on
    entries: dict[str, ManifestEntry] = field(default_factory=dict)
    replaced: dict[str, float] = field(default_factory=dict)  # names, with the time (seconds since 1970)

    def apply(self, commit_id: str, commit: Commit, when_s: float) -> None:
        self.chain += (commit_id,)
        # Entries without a number have no order: what one of them replaces may come after it.
        later = {} if _is_number(commit_id) else self.replaced
        for name in commit.replaces:
            self.entries.pop(name, None)
            self.replaced.setdefault(name, when_s)
        for entry in commit.files:
            if entry.name not in later:
                self.entries[entry.name] = entry
                self.replaced.pop(entry.name, None)


class Manifest:
    """The commits of one table, read incrementally; not safe for threads."""

    def __init__(self, store: FileStore, table_name: str) -> None:
        self._store = store
        self._folder = f"{table_name}/_manifest"
        self._commits: dict[str, Commit] = {}
        self._state = _State()
        self._listed: Mapping[str, float] = {}
        self._last = 0  # the highest number that is taken
        self._refused = 0  # the last number that somebody else had
        self._looked_s = -math.inf
        self.newest_s = 0.0  # when the youngest commit was written, as the file system tells

    def entries(self) -> dict[str, ManifestEntry]:
        """Return the entries by name, as they are now."""
        looked_s = time.monotonic()
        # Names with a dot in front are of the system that copied the folder ("._x.json" of a Mac).
        listed = {
            path.stem: changed
            for path, changed in (
                (PurePosixPath(path), changed) for path, changed in self._store.list(self._folder).items()
            )
            if path.suffix == ".json" and not path.name.startswith(".")
        }
        try:
            chain = self._read_chain(listed)
        except FileNotFoundError:  # removed between the listing and the read: a whole one has come
            return self.entries()
        known = self._state.chain
        if chain[: len(known)] != known:
            self._state, known = _State(), ()
        for commit_id in chain[len(known) :]:
            self._state.apply(commit_id, self._commits[commit_id], listed[commit_id])
        self._listed, self._looked_s = listed, looked_s
        numbers = (int(name) for name in listed if _is_number(name))
        self._last = max(numbers, default=0)
        if self._refused > self._last:  # what has that name is no file: a folder, which a bad copy leaves
            self._last = self._refused
        self.newest_s = max(listed.values(), default=0.0)
        return dict(self._state.entries)

    def _read_chain(self, listed: Mapping[str, float]) -> tuple[str, ...]:
        """Read the commits that matter, youngest first, and return their ids in the order of the log."""
        numbers = sorted((name for name in listed if _is_number(name)), reverse=True)
        chain: list[str] = []
        for commit_id in [*numbers, *sorted(listed.keys() - set(numbers), reverse=True)]:
            if commit_id not in self._commits:
                content = self._store.read(f"{self._folder}/{commit_id}.json")
                self._commits[commit_id] = self._parse(commit_id, content)
            chain.append(commit_id)
            if self._commits[commit_id].whole:
                break
        self._commits = {commit_id: self._commits[commit_id] for commit_id in chain}
        return tuple(reversed(chain))

    def replaced(self) -> set[str]:
        """Names of files that others have taken the place of, while they may lie there; of the last look."""
        return set(self._state.replaced)

    def commit(self, files: Sequence[ManifestEntry], *, replaces: Sequence[str] = ()) -> bool:
        """Make data files count, and in the same step make those they replace count no more.

        Returns:
            False where another writer has committed since the last look at the entries, or that look is long
            ago: nothing is done then, and the caller looks again.
        """
        if time.monotonic() - self._looked_s > LOOK_LASTS_S:
            return False
        commit = Commit(tuple(files), tuple(replaces))
        is_whole = len(self._state.chain) >= WHOLE_AFTER
        if is_whole:
            after = _State(entries=dict(self._state.entries), replaced=dict(self._state.replaced))
            after.apply("0" * _DIGITS, commit, time.time())
            commit = Commit(tuple(after.entries.values()), tuple(sorted(after.replaced)), whole=True)
        body: dict[str, Any] = {"format": FORMAT, "files": [asdict(entry) for entry in commit.files]}
        body |= {"replaces": list(commit.replaces)} if commit.replaces else {}
        body |= {"whole": True} if is_whole else {}
        commit_id = f"{self._last + 1:0{_DIGITS}}"
        if not self._store.create(f"{self._folder}/{commit_id}.json", json.dumps(body).encode()):
            self._refused = self._last + 1
            return False
        self._commits[commit_id] = commit
        if is_whole:
            for name, changed in self._listed.items():
                if changed < self.newest_s - KEEP_COMMITS_S:
                    self._store.delete(f"{self._folder}/{name}.json")
            self._state = _State(entries=after.entries, replaced=after.replaced)
            self._state.chain = (commit_id,)
        else:
            self._state.apply(commit_id, commit, time.time())
        self._last += 1
        return True

    def commit_of(self, name: str) -> str | None:
        """Return the path of the commit that says that a data file counts; None where none does."""
        self.entries()
        for commit_id in reversed(self._state.chain):
            if any(entry.name == name for entry in self._commits[commit_id].files):
                return f"{self._folder}/{commit_id}.json"
        return None

    def uncounted(self, *, writing_s: float) -> list[str]:
        """List the data files that no entry names, though none has taken their place.

        Args:
            writing_s: files younger than this are just being written, and left out.
        """
        named = {entry.path for entry in self.entries().values()}
        oldest = time.time() - writing_s if writing_s else math.inf
        return sorted(
            path
            for path, changed in self.data_files().items()
            if path not in named and PurePosixPath(path).stem not in self._state.replaced and changed < oldest
        )

    def leftovers(self) -> dict[str, float]:
        """Return the data files that others have taken the place of, and what broken writes left.

        With the time since when that is so. Names of which no file lies there any more are forgotten.
        """
        named = {entry.path for entry in self.entries().values()}
        files = self.data_files((".parquet", ".tmp"))
        there = {PurePosixPath(path).stem for path in files}
        self._state.replaced = {name: when for name, when in self._state.replaced.items() if name in there}
        since = {path: self._state.replaced.get(PurePosixPath(path).stem) for path in files}
        since |= {path: changed for path, changed in files.items() if path.endswith(".tmp")}
        return {path: when for path, when in since.items() if when is not None and path not in named}

    def data_files(self, endings: tuple[str, ...] = (".parquet",)) -> dict[str, float]:
        """Return the table's files with these endings, with the time of their last change."""
        table = self._folder.partition("/")[0]
        every = self._store.list(table, recursive=True)
        return {path: changed for path, changed in every.items() if path.endswith(endings)}

    def _parse(self, commit_id: str, content: bytes) -> Commit:
        where = self._store.path(f"{self._folder}/{commit_id}.json")
        try:
            body = json.loads(content)
            if "format" not in body:  # an entry from before there were numbers: of one file, and flat
                replaces = body.pop("replaces", [])
                body = {"format": 1, "files": [body], "replaces": replaces}
            if type(body["format"]) is not int or body["format"] > FORMAT:
                raise _newer(where, f"its format is {body['format']}, this version knows up to {FORMAT}")
            for unknown in body.keys() - {"format", "files", "replaces", "whole"}:
                raise _newer(where, f"{unknown} is unknown here")
            files = tuple(self._parse_entry(one, where) for one in body["files"])
            return Commit(files, tuple(body.get("replaces", ())), bool(body.get("whole", False)))
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InputError(
                f"the manifest entry is damaged ({error})",
                where=where,
                fix="`leeroo warehouse check --mend` sets it aside, and the next time takes its files in",
            ) from error

    def _parse_entry(self, body: dict[str, Any], where: str) -> ManifestEntry:
        unknown = body.keys() - ManifestEntry.__dataclass_fields__.keys()
        if unknown:
            raise _newer(where, f"{', '.join(sorted(unknown))} is unknown here")
        entry = ManifestEntry(**body)
        if wrong := self._wrong_fields(entry):
            raise TypeError(f"{' and '.join(wrong)} cannot be right")
        return entry

    def _wrong_fields(self, entry: ManifestEntry) -> list[str]:
        table = self._folder.partition("/")[0]
        right = {
            "path": isinstance(entry.path, str)
            and entry.path.startswith(f"{table}/")
            and ".." not in PurePosixPath(entry.path).parts,
            "rows": type(entry.rows) is int and entry.rows >= 0,
            "round": isinstance(entry.round, str),
            "expert": entry.expert is None or isinstance(entry.expert, str),
            "schema": type(entry.schema) is int,
            "sha256": entry.sha256 is None or isinstance(entry.sha256, str),
            "footer": entry.footer is None or isinstance(entry.footer, str),
            "size_bytes": entry.size_bytes is None or type(entry.size_bytes) is int,
        }
        return [name for name, is_right in right.items() if not is_right]


def _is_number(name: str) -> bool:
    return len(name) == _DIGITS and name.isdigit()


def _newer(where: str, why: str) -> InputError:
    return InputError(
        f"{NEWER} ({why})",
        where=where,
        fix="use the version that wrote it, or a newer one",
    )
