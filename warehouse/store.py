"""The warehouse: append-only Parquet tables with a manifest, on local disk or an object store.

Layout below the root::

    answers/round=r000/expert=gemma-3-270m/<name>.parquet     the rows
    answers/_manifest/<number>.json                           written last: the rows exist from here on
    answers/_keys/<name>.npy                                  digests of the keys of larger files

A reader opens only files that the manifest names, so it never sees half a write.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from warehouse.errors import InputError
from warehouse.files import FileStore
from warehouse.filing import Filing, plan_filing
from warehouse.keys import digest_keys, drop_repeats, join_keys, meant, without
from warehouse.manifest import ManifestEntry
from warehouse.schemas import KEYS_OF_ONE_ROUND, TABLES, conform, fill_round, table_schema
from warehouse.table import PILE_FILES, Partition, TableFiles, fill_files, find_pile, partitions_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as pads

#: Data files that others have taken the place of are kept this long for readers.
ORPHAN_AGE_S = 3600.0
#: A data file without an entry that is younger than this is just being written.
WRITING_S = 120.0
#: A compaction that merges nothing looks for leftovers this often.
TIDY_EVERY_S = 60.0


class Warehouse:
    """Reads and writes the tables of :mod:`warehouse.schemas` below one root.

    Any number of readers and writers may run side by side. On one local disk writers take turns by a file
    lock; on an object store the one that comes second looks again and writes what is still new.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._files = FileStore(url)
        self._tables = {name: TableFiles(self._files, name) for name in TABLES}
        self._tidied_s: dict[str, float] = {}  # when leftovers of a table were last looked for
        self._turn = threading.RLock()  # what is kept of the tables is shared by the threads of this process

    @property
    def file_store(self) -> FileStore:
        """The files themselves, for those who look after them."""
        return self._files

    def table(self, table_name: str) -> TableFiles:
        """Return one table's files, for those who look after them."""
        table_schema(table_name)
        return self._tables[table_name]

    def __repr__(self) -> str:
        return f"Warehouse({self.url!r})"

    def append(self, table_name: str, rows: pa.Table, *, round: str, expert: str | None = None) -> int:
        """Add rows whose key is not there yet; return how many were written.

        The write is atomic: after a crash at any moment the rows are either all there or not at all. Rows
        that name no round are of this one. The cost is that of the rows, whatever the table holds.

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
        rows = drop_repeats(table_name, rows)
        digests = digest_keys(table_name, rows)
        table = self.table(table_name)
        of_round = round if table_name in KEYS_OF_ONE_ROUND else None
        with self._turn, table.lock():
            while True:
                entries = _of(table.entries(), expert, of_round)
                table.check_clock()
                is_new = ~table.keys.contains(entries, digests)
                rows, digests = rows.filter(pa.array(is_new)), digests[is_new]
                if rows.num_rows == 0:
                    return 0
                parts = join_keys(table_name, rows).to_pylist()
                entry = table.write(rows, round=round, expert=expert, parts=parts, is_new=True)
                if table.commit(entry, digests):
                    break
            self._merge_piles(table, (round, expert))
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
        given = drop_repeats("questions", given)
        digests = digest_keys("questions", given)
        table = self.table("questions")
        with self._turn, table.lock():
            while True:
                entries = table.entries()
                table.check_clock()
                found = [(entry, table.keys.of(entry, digests)) for entry in entries]
                is_new = pa.chunked_array([pa.array(~table.keys.contains(entries, digests))])
                touched = [entry for entry, there in found if there.any()]
                parts = [table.read_if_there([entry]) for entry in touched]
                stored = [
                    (entry, part) for entry, part in zip(touched, parts, strict=True) if part is not None
                ]
                if len(stored) < len(touched):
                    continue  # replaced meanwhile
                plan = plan_filing(stored, given, is_new, keep_rounds)
                if not plan.rows.num_rows:
                    break
                is_addition = not plan.replaced
                entry = table.write(
                    plan.rows, round=round, expert=None, parts=plan.name_parts, is_new=is_addition
                )
                if is_addition and table.commit(entry, digest_keys("questions", plan.rows)):
                    break
                if not is_addition and table.replace(plan.replaced, entry):
                    break
        return plan.filing

    def missing(self, table_name: str, keys: pa.Table, *, expert: str | None = None) -> pa.ChunkedArray:
        """Tell for each row (boolean) whether its key is absent from the table.

        Costs as much as the rows asked for, whatever the table holds.

        Args:
            table_name: a name in ``warehouse.schemas.TABLES``.
            keys: the columns of the table's key (``warehouse.schemas.KEYS``).
            expert: looks at the files of this expert only.
        """
        digests = digest_keys(table_name, keys)
        table = self.table(table_name)
        with self._turn:
            there = table.keys.contains(_of(table.entries(), expert), digests)
        return pa.chunked_array([pa.array(~there)])

    def files_with(self, table_name: str, keys: pa.Table) -> list[ManifestEntry]:
        """List the committed data files that hold at least one of these keys.

        Args:
            table_name: a name in ``warehouse.schemas.TABLES``.
            keys: the columns of the table's key (``warehouse.schemas.KEYS``).
        """
        digests = digest_keys(table_name, keys)
        table = self.table(table_name)
        with self._turn:
            return [entry for entry in table.entries() if table.keys.of(entry, digests).any()]

    def compact(self, table_name: str, *, but: str | None = None) -> int:
        """Merge the many small files of each partition into few, ``but`` of that round; return how many were.

        Appends do so by themselves where files pile up; this leaves no two that fit into one. A merged file
        and the end of the small ones are one commit, so neither a crash nor a reader in between loses or
        doubles a row. Data files that were replaced are removed after an hour.
        """
        merged_files = 0
        table = self.table(table_name)
        with self._turn, table.lock():
            for partition, group in partitions_of(table.entries()).items():
                if partition[0] != but:
                    for some in fill_files(group, table.size_of):
                        merged_files += self._merge(table, partition, some)
            # Some ask at every turn, and it lists every file of the table.
            if merged_files or time.monotonic() - self._tidied_s.get(table_name, -math.inf) > TIDY_EVERY_S:
                table.remove_leftovers(ORPHAN_AGE_S)
                self._tidied_s[table_name] = time.monotonic()
        return merged_files

    def _merge_piles(self, table: TableFiles, partition: Partition) -> None:
        """Make one file of those of a partition that have piled up, and again where these pile up."""
        # What was appended is there already: a file that cannot be read, or a full disk, is told by others.
        with contextlib.suppress(InputError, OSError):
            while pile := find_pile(partitions_of(table.entries()).get(partition, [])):
                if not self._merge(table, partition, pile):
                    return  # somebody else is at it
                if sum(entry.rows for entry in pile) >= PILE_FILES**2:  # now and then: it lists every file
                    table.remove_leftovers(ORPHAN_AGE_S)

    def _merge(self, table: TableFiles, partition: Partition, group: Sequence[ManifestEntry]) -> int:
        round_name, expert = partition
        if (stored := table.read_if_there(group)) is None:
            return 0
        rows = drop_repeats(table.name, stored)
        names = sorted(entry.name for entry in group)
        entry = table.write(rows, round=round_name, expert=expert, parts=names, is_new=False)
        if not table.replace(names, entry):
            return 0
        table.keys.add(entry, digest_keys(table.name, rows))
        return len(group)

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
        table = self.table(table_name)
        with self._turn, table.lock():
            for entry in table.entries():
                if (count := self._take_out_of(table, entry, find, by, words)) is None:
                    # Replaced meanwhile: what it became is looked at.
                    return taken + self.take_out(table_name, find, by=by, words=words)
                taken += count
            # Without a lock, what another is just writing is left alone: it counts as brought afterwards.
            writing_s = 0.0 if self._files.is_local else WRITING_S
            for path in table.manifest.uncounted(writing_s=writing_s):
                if (rows := table.read_loose(path)) is None:
                    table.delete(path)  # what cannot be read cannot be searched
                elif pc.any(gone := meant(rows, find, words)).as_py():
                    table.overwrite(path, without(rows, gone, words))
            for path in table.manifest.leftovers():
                rows = None if path.endswith(".tmp") else table.read_loose(path)
                if rows is None or pc.any(meant(rows, find, words)).as_py():
                    table.delete(path)
        return taken

    def _take_out_of(
        self,
        table: TableFiles,
        entry: ManifestEntry,
        find: Callable[[pa.Table], pa.ChunkedArray],
        by: Sequence[str],
        words: Sequence[str],
    ) -> int | None:
        """Replace one file by what stays of it; None where another has replaced it meanwhile."""
        look = table.read_if_there([entry], [*by, *words])
        if look is None:
            return None
        if not (count := int(pc.sum(meant(look, find, words)).as_py() or 0)):
            return 0
        if (rows := table.read_if_there([entry])) is None:
            return None
        rest = without(rows, meant(rows, find, words), words)
        parts = [entry.name, "rest"]
        fresh = table.write(rest, round=entry.round, expert=entry.expert, parts=parts, is_new=False)
        return count if table.replace([entry.name], fresh) else None

    def scan(self, table_name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns; empty with the right schema where nothing is there."""
        entries = self.files(table_name)
        while True:
            try:
                return self.table(table_name).read(entries, columns)
            except InputError:
                former, entries = entries, self.files(table_name)
                if entries == former:  # else files were rewritten meanwhile
                    raise

    def dataset(self, table_name: str) -> pads.Dataset:
        """Return the table as a pyarrow dataset (lazy; filters and column choices are pushed down)."""
        return self.table(table_name).dataset(self.files(table_name))

    def files(self, table_name: str) -> list[ManifestEntry]:
        """List the committed data files of a table."""
        with self._turn:
            return self.table(table_name).entries()

    def answered(self, expert: str, expert_version: str) -> set[str]:
        """Return the ids of the questions this version of the expert has a row for (errors included)."""
        return set(
            self.answers_of(expert, expert_version, columns=["question_id"])["question_id"].to_pylist()
        )

    def answers_of(self, expert: str, expert_version: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the answers of one version of one expert, or some of their columns."""
        entries = _of(self.files("answers"), expert)
        wanted = list(columns) if columns else table_schema("answers").names
        keys = [name for name in ("expert", "expert_version") if name not in wanted]
        table = self.table("answers").read(entries, [*wanted, *keys])
        mask = pc.and_(pc.equal(table["expert"], expert), pc.equal(table["expert_version"], expert_version))
        return table.filter(mask).select(wanted)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open DuckDB in memory with a view of each table, and outcomes."""
        from warehouse.views import open_connection

        return open_connection(self.dataset)

    def set_aside(self, table_name: str, path: str) -> ManifestEntry | None:
        """Let a data file count no more, and leave it where it is; return its entry, if it has one."""
        table = self.table(table_name)
        with self._turn, table.lock():
            named = {entry.path: entry for entry in table.entries()}
            entry = named.get(path)
            if entry is not None:
                table.replace([entry.name], None)
        return entry

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
        with self._turn:
            return self.table(table_name).manifest.uncounted(writing_s=writing_s)


def _of(
    entries: Sequence[ManifestEntry], expert: str | None, round: str | None = None
) -> list[ManifestEntry]:
    """Those of an expert, whom a file may name or not, and of a round; None: of all."""
    return [
        entry
        for entry in entries
        if (expert is None or entry.expert in (None, expert)) and round in (None, entry.round)
    ]
