"""Forgetting: what was asked to go is written down first, and done until nothing can bring it back.

A request that is being answered, a shadow answer on its way, or a process that is killed in the midst may
leave something behind after the first walk through the tables. So an order stays in force for a day, and
whoever looks after a home carries it out again. It holds ids and hashes, and no text.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from warehouse.store import Warehouse
from warehouse.traffic.derived import Derived, Removed, find_derived, find_requests, remove_derived
from warehouse.traffic.selection import Selection, moment
from warehouse.traffic.texts import TextStore

ORDERS_FOLDER = "traffic/forget"
IN_FORCE = timedelta(days=1)


@dataclass(frozen=True)
class Forgotten:
    """What is gone.

    Attributes:
        requests: that were meant.
        texts: of these, removed from the store of texts.
        removed: rows of the tables.
    """

    requests: int
    texts: int
    removed: Removed


@dataclass(frozen=True)
class _Order:
    """One wish that something be forgotten, and what was found to derive from it so far."""

    name: str
    selection: Selection
    asked_at: datetime
    derived: Derived


def find_meant(home: Path, warehouse: Warehouse, selection: Selection) -> set[str]:
    """Return the ids of the recorded requests that are meant; nothing is changed."""
    return TextStore(home).find(selection) | find_requests(warehouse, selection)


def forget(
    home: Path, warehouse: Warehouse, selection: Selection, embeddings: Path | None = None
) -> Forgotten:
    """Remove the texts of the requests that are meant, and all rows that derive from them.

    Killed in the midst it is done to its end by the next :func:`carry_out_orders`.

    Args:
        home: the home's folder.
        warehouse: its tables.
        selection: which requests; those that are answered later are not meant.
        embeddings: a cache of embeddings by the hash of the text, which goes where questions go.
    """
    now = datetime.now(UTC)
    before = min(filter(None, (selection.before, now)))
    # Named by their ids alone, they may have left rows though nothing tells of the requests any more.
    named = selection.request_ids if selection == Selection(selection.request_ids) else frozenset()
    order = _Order(uuid.uuid4().hex, replace(selection, before=before), now, Derived(named))
    _write(home, order)
    return _carry_out(home, warehouse, order, embeddings)


def carry_out_orders(home: Path, warehouse: Warehouse, embeddings: Path | None = None) -> int:
    """Carry out all orders that are in force once more; return how many there are."""
    orders = list(_read_orders(home))
    for order in orders:
        _carry_out(home, warehouse, order, embeddings)
        if datetime.now(UTC) - order.asked_at > IN_FORCE:
            (home / ORDERS_FOLDER / f"{order.name}.json").unlink(missing_ok=True)
    return len(orders)


def _carry_out(home: Path, warehouse: Warehouse, order: _Order, embeddings: Path | None) -> Forgotten:
    store, selection = TextStore(home), order.selection
    meant = find_meant(home, warehouse, selection)
    found = find_derived(warehouse, meant | order.derived.request_ids)
    known = order.derived
    derived = Derived(
        found.request_ids | known.request_ids,
        found.question_ids | known.question_ids,
        found.rounds | known.rounds,
    )
    if derived != known:
        _write(
            home, replace(order, derived=derived)
        )  # before any of it is gone, and with it the way to the rest
    texts = store.forget(selection)
    if derived.request_ids:
        texts += store.forget(Selection(derived.request_ids))
    removed = remove_derived(warehouse, derived)
    if derived.question_ids and embeddings is not None:
        shutil.rmtree(embeddings, ignore_errors=True)
    return Forgotten(len(meant), texts, removed)


def _read_orders(home: Path) -> Iterator[_Order]:
    for path in sorted((home / ORDERS_FOLDER).glob("*.json")):
        try:
            told = json.loads(path.read_text())
        except FileNotFoundError:
            continue
        before = told["before"]
        selection = Selection(
            frozenset(told["named"]), told["key_id"], told["user_hash"], before and moment(before)
        )
        derived = Derived(*(frozenset(told[name]) for name in ("request_ids", "question_ids", "rounds")))
        yield _Order(path.stem, selection, moment(told["asked_at"]), derived)


def _write(home: Path, order: _Order) -> None:
    selection, derived = order.selection, order.derived
    told = {
        "asked_at": order.asked_at.isoformat(),
        "named": sorted(selection.request_ids),
        "key_id": selection.key_id,
        "user_hash": selection.user_hash,
        "before": selection.before and selection.before.isoformat(),
        "request_ids": sorted(derived.request_ids),
        "question_ids": sorted(derived.question_ids),
        "rounds": sorted(derived.rounds),
    }
    folder = home / ORDERS_FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = folder / f".{order.name}"
    with open(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / f"{order.name}.json")
