"""Forgetting requests in a whole home: what is on its way comes to its place first, and then goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipelines.answering.taking_in import take_in_journals
from serve.config import ServeConfig
from serve.ledger.ledger import Ledger
from serve.ledger.store.place import has_ledger, ledger_place
from serve.ledger.traffic.carrying import carry_traffic
from warehouse import InputError
from warehouse.home import Home
from warehouse.traffic.forgetting import Forgotten, carry_out_orders, find_meant, forget
from warehouse.traffic.hashing import keyed_hash, read_hash_key
from warehouse.traffic.retention import Expired, expire
from warehouse.traffic.selection import Selection
from warehouse.traffic.traces import expire_traces, forget_traces


def select_requests(
    home: Home, *, key: str | None, user: str | None, requests: list[str], before: str | None
) -> Selection:
    """Return which requests are meant: those for which all that is given holds.

    Args:
        home: whose requests.
        key: name or id of a key, revoked ones too.
        user: as the requests named it.
        requests: their ids.
        before: a day or a moment, UTC where it names no time zone.

    Raises:
        InputError: nothing is given, there is no such key, or it is no moment.
    """
    if not (key or user or requests or before):
        raise InputError(
            "nothing says what is to be forgotten", fix="give --key, --user, --request or --before"
        )
    return Selection(
        frozenset(requests),
        None if key is None else _find_key(home, key),
        None if user is None else keyed_hash(read_hash_key(home.path), "user", user),
        None if before is None else _moment(before),
    )


def count_requests(home: Home, selection: Selection) -> int:
    """Return how many requests are meant, after what waits in the ledger came to the tables."""
    _bring_in(home)
    return len(find_meant(home.path, home.warehouse(), selection))


def forget_requests(home: Home, selection: Selection) -> tuple[Forgotten, int]:
    """Remove the texts of these requests and all that derives from them, wherever it lies in the home.

    Also returns how many traces went with them. These go first: a trace does not say whose user's it is, and
    once the rows are gone nobody could tell. Where they cannot be reached nothing goes yet.
    """
    _bring_in(home)
    meant = find_meant(home.path, home.warehouse(), selection)
    traces = forget_traces(home.mlflow_uri, selection, meant)
    forgotten = forget(home.path, home.warehouse(), selection, home.embeddings)
    _wipe_ledger(home)
    return forgotten, traces


def expire_texts(home: Home, keep_days: int) -> tuple[Expired, int]:
    """Remove what is kept for a time and is over it; also returns how many orders to forget are in force."""
    _bring_in(home)
    warehouse = home.warehouse()
    orders = carry_out_orders(home.path, warehouse, home.embeddings)
    expired = expire(home.path, warehouse, keep_days)
    _wipe_ledger(home)
    expire_traces(home.mlflow_uri, datetime.now(UTC) - timedelta(days=keep_days))  # may be out of reach
    return expired, orders


def _bring_in(home: Home) -> None:
    """Bring rows to the tables that wait in the ledger, and answers that a killed run left in journals."""
    take_in_journals(home.warehouse())
    if has_ledger(ledger_place(home.path)):
        carry_traffic(ServeConfig(home=home.path, warehouse_url=home.warehouse_url))


def _wipe_ledger(home: Home) -> None:
    if has_ledger(ledger_place(home.path)):
        ledger = Ledger(ledger_place(home.path))
        try:
            ledger.wipe()
        finally:
            ledger.close()


def _find_key(home: Home, name: str) -> str:
    place = ledger_place(home.path)
    known = Ledger(place).list_keys() if has_ledger(place) else []
    found = [key.key_id for key in known if name in (key.key_id, key.name)]
    if len(found) != 1:
        what = f"{len(found)} keys are called {name!r}" if found else f"no key is called {name!r}"
        raise InputError(what, where="--key", fix="give its id; `leeroo keys list` shows it")
    return found[0]


def _moment(told: str) -> datetime:
    try:
        then = datetime.fromisoformat(told)
    except ValueError:
        raise InputError(
            f"{told!r} is no moment", where="--before", fix="write 2026-03-01, or 2026-03-01T12:00"
        ) from None
    return then if then.tzinfo else then.replace(tzinfo=UTC)
