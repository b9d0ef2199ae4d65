"""The warehouse: append-only Parquet tables with a manifest, on local disk or an object store.

Layout below the root::

    answers/round=r000/expert=gemma-3-270m/<name>.parquet     the rows
    answers/_manifest/<name>.json                             written last: the rows exist from here on

A reader opens only files that a manifest entry names, so it never sees half a write. File names come from
the keys of their rows: a batch that is retried lands on the same name and changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.errors import CannotRunError, InputError
from warehouse.files import FileStore
from warehouse.filing import Filing, plan_filing
from warehouse.keys import KnownKeys, drop_repeats, join_keys, meant, without
from warehouse.manifest import Manifest, ManifestEntry, footer_size, sha256
from warehouse.schemas import (
    KEYS,
    KEYS_OF_ONE_ROUND,
    SCHEMA_VERSION,
    TABLES,
    conform,
    fill_round,
    readable,
    table_schema,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as pads

#: Data files that a compaction has replaced are kept this long for readers.
ORPHAN_AGE_S = 3600.0
#: A data file without an entry that is younger than this is just being written.
WRITING_S = 120.0
#: Clocks of two machines, or of a machine and its object store, may differ by this much.
CLOCK_TOLERANCE_S = 600.0


class Warehouse:
    """Reads and writes the tables of :mod:`warehouse.schemas` below one root.

    Any number of readers may run beside writers. Writers on one local disk take turns by a file lock; on an
    object store, keep to one writer per (table, expert), which is how rounds work.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._files = FileStore(url)
        self._manifests = {name: Manifest(self._files, name) for name in TABLES}
        self._known: dict[tuple[str, str | None, str | None], KnownKeys] = {}
        self._sound: set[str] = set()  # names of files whose end was looked at
        self._turn = threading.RLock()  # the caches are shared by the threads of this process

    @property
    def file_store(self) -> FileStore:
        """The files themselves, for those who look after them."""
        return self._files

    def __repr__(self) -> str:
        return f"Warehouse({self.url!r})"

    def append(self, table_name: str, rows: pa.Table, *, round: str, expert: str | None = None) -> int:
        """Add rows whose key is not there yet; return how many were written.

        The write is atomic: after a crash at any moment the rows are either all there or not at all. Rows
        that name no round are of this one.

        Args:
            table_name: a name in ``warehouse.schemas.TABLES``.
            rows: columns of the table's schema; optional columns may be absent.
            round: the partition, for example ``r001``.
            expert: the second partition (answers only).

        Raises:
            InputError: a required column is absent or holds nulls, a column is unknown, or a type differs.
        """
        rows = fill_round(conform(table_name, rows), round)
        if rows.num_rows == 0:
            return 0
        with self._turn, self._files.lock(table_name):
            known = self._known_keys(table_name, expert, round if table_name in KEYS_OF_ONE_ROUND else None)
            self._check_clock(table_name)
            rows = drop_repeats(table_name, rows)
            rows = rows.filter(pc.invert(pc.is_in(join_keys(table_name, rows), value_set=known.array())))
            if rows.num_rows == 0:
                return 0
            keys = join_keys(table_name, rows)
            parts = keys.to_pylist()
            while (entry := _entry_of(table_name, rows, round, expert, parts)).name in self._manifests[
                table_name
            ].replaced():
                parts.append("again")  # they were taken out, and a name that was replaced counts no more
            self._write(rows, entry)
            known.add(entry.name, keys)
        return int(rows.num_rows)

    def file_questions(self, rows: pa.Table, *, round: str, keep_rounds: Collection[str] = ()) -> Filing:
        """Add the questions that are new, and put those that are stored under the source and round given.

        Content, id and answers of a stored question stay as they are; its ``sources`` keep what it was
        brought under before. All of it is one commit, as an append is.

        Args:
            rows: columns of the QUESTIONS table; optional columns may be absent.
            round: what they are filed under, where the rows name no other.
            keep_rounds: stored questions of these rounds stay in them: their records refer to them.

        Raises:
            InputError: as :meth:`append`.
        """
        given = fill_round(conform("questions", rows), round)
        with self._turn, self._files.lock("questions"):
            self._check_clock("questions")
            given = drop_repeats("questions", given)
            is_new = self.missing("questions", given)
            stored = ((entry, self._read("questions", [entry])) for entry in self.files("questions"))
            plan = plan_filing(stored, given, is_new, keep_rounds)
            if plan.rows.num_rows:
                # Of what was replaced earlier the files lie there still: whose rows they hold stays known.
                former = sorted(self._manifests["questions"].replaced()) if plan.replaced else []
                entry = _entry_of("questions", plan.rows, round, None, plan.name_parts)
                self._write(plan.rows, entry, [*plan.replaced, *former])
        return plan.filing

    def missing(self, table_name: str, keys: pa.Table, *, expert: str | None = None) -> pa.ChunkedArray:
        """Tell for each row (boolean) whether its key is absent from the table.

        Cheap to ask again and again: only files that came since the last time are opened.

        Args:
            table_name: a name in ``warehouse.schemas.TABLES``.
            keys: the columns of the table's key (``warehouse.schemas.KEYS``).
            expert: looks at the files of this expert only.
        """
        with self._turn:
            known = self._known_keys(table_name, expert).array()
        return pc.invert(pc.is_in(join_keys(table_name, keys), value_set=known))

    def compact(self, table_name: str, *, but: str | None = None) -> int:
        """Merge the many small files of each partition into one, ``but`` of that round; return how many were.

        The merged file and the end of the small ones are one commit, so neither a crash nor a reader in
        between loses or doubles a row. Data files that were replaced are removed after an hour.
        """
        merged_files = 0
        with self._turn, self._files.lock(table_name):
            # Files that an earlier compaction replaced lie there still: whose rows they hold stays known.
            former = sorted(self._manifests[table_name].replaced())
            partitions: dict[tuple[str, str | None], list[ManifestEntry]] = {}
            for entry in self.files(table_name):
                partitions.setdefault((entry.round, entry.expert), []).append(entry)
            for (round_name, expert), group in partitions.items():
                if len(group) < 2 or round_name == but:
                    continue
                rows = drop_repeats(table_name, self._read(table_name, group))
                names = sorted(entry.name for entry in group)
                entry = _entry_of(table_name, rows, round_name, expert, names)
                self._write(rows, entry, [*names, *former])
                merged_files += len(group)
            self._manifests[table_name].remove_replaced(older_s=ORPHAN_AGE_S, writing_s=WRITING_S)
        return merged_files

    def take_out(
        self,
        table_name: str,
        find: Callable[[pa.Table], pa.ChunkedArray],
        *,
        by: Sequence[str],
        words: Sequence[str] = (),
    ) -> int:
        """Take rows out of the table for good, or the words out of rows that stay; return how many.

        The one operation by which something stops being there: for people who ask for it, and for what is
        kept for a time. Each file is replaced in one commit, so after a crash every row that stays is there
        once; what was replaced, now or earlier, and holds such a row is removed from the disk at once, which
        ends readers that had just begun. Done again after a crash it does the rest. Files that no entry
        names, of a writer that was killed, are rewritten too.

        Args:
            table_name: a name in ``warehouse.schemas.TABLES``.
            find: tells of rows, which have the columns ``by``, whether each is meant (boolean).
            by: columns; of files without such a row no others are read.
            words: columns that become null in these rows, which stay; without any the rows go.
        """
        taken = 0
        with self._turn, self._files.lock(table_name):
            manifest = self._manifests[table_name]
            for entry in self.files(table_name):
                look = self._read(table_name, [entry], [*by, *words])
                if not (count := pc.sum(meant(look, find, words)).as_py()):
                    continue
                rows = self._read(table_name, [entry])
                former = sorted(manifest.replaced())
                rest = without(rows, meant(rows, find, words), words)
                parts = [entry.name, "rest"]
                fresh = _entry_of(table_name, rest, entry.round, entry.expert, parts)
                self._write(rest, fresh, [entry.name, *former])
                taken += count
            for path in manifest.uncounted(writing_s=0.0):
                if (rows := self._read_loose(table_name, path)) is None:
                    self._files.delete(path)  # what cannot be read cannot be searched
                elif pc.any(gone := meant(rows, find, words)).as_py():
                    self._files.write(path, _to_parquet(without(rows, gone, words)))
            for path in manifest.leftovers():
                rows = None if path.endswith(".tmp") else self._read_loose(table_name, path)
                if rows is None or pc.any(meant(rows, find, words)).as_py():
                    self._files.delete(path)
        return taken

    def _read_loose(self, table_name: str, path: str) -> pa.Table | None:
        """Read a data file that no entry names; None where that cannot be."""
        try:
            return self._dataset(table_name, [ManifestEntry(path, 0, "", None, SCHEMA_VERSION)]).to_table()
        except (pa.ArrowException, OSError):
            return None

    def scan(self, table_name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns; empty with the right schema where nothing is there."""
        entries = self.files(table_name)
        while True:
            try:
                return self._read(table_name, entries, columns)
            except InputError:
                former, entries = entries, self.files(table_name)
                if entries == former:  # else files were rewritten meanwhile
                    raise

    def dataset(self, table_name: str) -> pads.Dataset:
        """Return the table as a pyarrow dataset (lazy; filters and column choices are pushed down)."""
        return self._dataset(table_name, self.files(table_name))

    def files(self, table_name: str) -> list[ManifestEntry]:
        """List the committed data files of a table."""
        table_schema(table_name)
        return list(self._manifests[table_name].entries().values())

    def answered(self, expert: str, expert_version: str) -> set[str]:
        """Return the ids of the questions this version of the expert has a row for (errors included)."""
        return set(
            self.answers_of(expert, expert_version, columns=["question_id"])["question_id"].to_pylist()
        )

    def answers_of(self, expert: str, expert_version: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the answers of one version of one expert, or some of their columns."""
        entries = [entry for entry in self.files("answers") if entry.expert in (None, expert)]
        wanted = list(columns) if columns else table_schema("answers").names
        keys = [name for name in ("expert", "expert_version") if name not in wanted]
        table = self._read("answers", entries, [*wanted, *keys])
        mask = pc.and_(pc.equal(table["expert"], expert), pc.equal(table["expert_version"], expert_version))
        return table.filter(mask).select(wanted)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open DuckDB in memory with a view of each table, and outcomes."""
        from warehouse.views import open_connection

        return open_connection(self.dataset)

    def _dataset(self, table_name: str, entries: Sequence[ManifestEntry]) -> pads.Dataset:
        import pyarrow.dataset as pads  # here, because it loads pandas, which `leeroo --help` can do without

        # An older file may lack any column, so the reading side allows nulls everywhere.
        schema = readable(table_schema(table_name))
        if not entries:
            return pads.dataset(schema.empty_table())
        self._check_footers(table_name, entries)
        paths = [self._files.path(entry.path) for entry in entries]
        # Bytes that flipped on the disk are an error, not an answer. Files from before have no checksums.
        checked = pads.ParquetFileFormat(
            default_fragment_scan_options=pads.ParquetFragmentScanOptions(page_checksum_verification=True)
        )
        return pads.dataset(paths, schema=schema, format=checked, filesystem=self._files.filesystem)

    def _read(
        self, table_name: str, entries: Sequence[ManifestEntry], columns: Sequence[str] | None = None
    ) -> pa.Table:
        try:
            table = self._dataset(table_name, entries).to_table(columns=list(columns) if columns else None)
            # The head of a page, which says how many rows it has, is in no checksum of the file's own.
            if table.num_rows != (written := sum(entry.rows for entry in entries)):
                raise OSError(f"it has {table.num_rows:,} rows, of {written:,} that were written")
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(table_name, error) from error
        return table

    def _check_footers(self, table_name: str, entries: Sequence[ManifestEntry]) -> None:
        """See once that the ends of files on this disk are as they were written; pages check themselves."""
        for entry in entries:
            if entry.footer is None or entry.name in self._sound or not self._files.is_local:
                continue
            try:
                size = footer_size(self._files.read_end(entry.path, 8))
                if sha256(self._files.read_end(entry.path, size)) != entry.footer:
                    raise OSError(f"{entry.path} is not as it was written")
            except OSError as error:
                raise self._unreadable(table_name, error) from error
            self._sound.add(entry.name)

    def _unreadable(self, table_name: str, error: Exception) -> InputError:
        return InputError(
            f"the {table_name} table cannot be read: {str(error).splitlines()[0]}",
            where=self.url,
            fix="`leeroo warehouse check` names the files; restore them from a copy, or set them aside with "
            "--mend and answer again",
        )

    def _write(self, rows: pa.Table, entry: ManifestEntry, replaces: Sequence[str] = ()) -> None:
        content = _to_parquet(rows)
        self._files.write(entry.path, content)
        self._manifests[entry.path.split("/", 1)[0]].commit(entry.seal(content), replaces=replaces)

    def _known_keys(self, table_name: str, expert: str | None, round: str | None = None) -> KnownKeys:
        """The committed keys; only files that this object has not looked into yet are opened."""
        known = self._known.setdefault((table_name, expert, round), KnownKeys())
        entries = [entry for entry in self.files(table_name) if round in (None, entry.round)]
        if not known.files <= {entry.name for entry in entries}:  # rows may have been taken out
            known = self._known[table_name, expert, round] = KnownKeys()
        for entry in entries:
            if entry.name not in known.files and (expert is None or entry.expert in (None, expert)):
                known.add(
                    entry.name, join_keys(table_name, self._read(table_name, [entry], KEYS[table_name]))
                )
        return known

    def uncounted_now(self, table_name: str) -> list[str]:
        """As :meth:`uncounted`, the newest files too where a lock tells that nobody writes (a local disk)."""
        if not self._files.is_local or not self._files.list(table_name):
            return self.uncounted(table_name)
        with self._turn, self._files.lock(table_name):
            return self.uncounted(table_name, writing_s=0.0)

    def uncounted(self, table_name: str, *, writing_s: float = WRITING_S) -> list[str]:
        """List the data files that no entry names, though none has taken their place.

        A crash between file and entry leaves one, and so does the loss of an entry. Their rows do not count
        until ``leeroo warehouse check --mend`` takes them in. Files of the last minutes are being written.
        """
        table_schema(table_name)
        return self._manifests[table_name].uncounted(writing_s=writing_s)

    def _check_clock(self, table_name: str) -> None:
        """Of two versions of an expert, the one that answered last counts: time must not run back."""
        ahead_s = self._manifests[table_name].newest_s - time.time()
        if ahead_s > CLOCK_TOLERANCE_S:
            raise CannotRunError(
                f"this machine's clock is {ahead_s / 60:.0f} minutes behind the last rows of {table_name}",
                where=self.url,
                fix="set the clock: rows written now would count as older than those that are there",
            )


def _to_parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _entry_of(
    table_name: str, rows: pa.Table, round: str, expert: str | None, parts: Iterable[str]
) -> ManifestEntry:
    """The entry of a file in its partition, named by the hash of these texts."""
    folder = f"{table_name}/round={quote(round, safe='')}"
    if expert is not None:
        folder += f"/expert={quote(expert, safe='')}"
    name = hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:24]
    return ManifestEntry(f"{folder}/{name}.parquet", rows.num_rows, round, expert, SCHEMA_VERSION)
