"""What the admin API does: the same as the commands, by an admin's key, with a note of who did it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from serve.ledger.accounts.keys import DEFAULT_GRACE_S, why_ended
from serve.ledger.ledger import Ledger
from serve.ledger.messages import ENDED, AdminAnswer, AdminOrder, Caller
from warehouse import InputError, LedgerAwayError, LeerooError

_OF_ONE_KEY = ("change", "rotate", "revoke")


def administer(ledger: Ledger, caller: Caller, order: AdminOrder) -> AdminAnswer:
    """Carry out an order of an admin. A change and its note are made together, or neither.

    Secrets are in the answers to ``create`` and ``rotate`` of keys alone.
    """
    try:
        with ledger.transaction():
            if refusal := _refuse(ledger, caller, order):
                return refusal
            read = _READ.get((order.what, order.action))
            if read is not None:
                return AdminAnswer(200, read(ledger, order))
            status, told = _CHANGES[order.what, order.action](ledger, order)
            target = str(told["id"])
            ledger.log.note(caller.key_id or "", f"{order.what}.{order.action}", target, order.settings)
        if (order.what, order.action) == ("keys", "create"):
            ledger.note_keys()
        return AdminAnswer(status, told)
    except LedgerAwayError:
        raise
    except InputError as error:
        return AdminAnswer(404 if "there is no active" in str(error) else 400, str(error))
    except LeerooError as error:
        return AdminAnswer(500, str(error))


def _refuse(ledger: Ledger, caller: Caller, order: AdminOrder) -> AdminAnswer | None:
    """Look at the key once more: who was let in at the door may have been revoked since."""
    key = None if caller.key_id is None else ledger.key_row(caller.key_id)
    if key is None or not key["admin"]:
        return AdminAnswer(403, "only an admin's key may do this (`leeroo keys create NAME --admin`)")
    if ended := why_ended(key, caller.rotation, time.time()):
        return AdminAnswer(401, ENDED[ended])
    if order.what != "keys" or order.action not in _OF_ONE_KEY:
        return None
    target = ledger.active_key(order.name or "")  # found as the change will find it
    if target["admin"] and not (order.action == "rotate" and target["key_id"] == caller.key_id):
        return AdminAnswer(403, "keys of admins are the command line's; an admin may rotate its own")
    return None


def _create_key(ledger: Ledger, order: AdminOrder) -> tuple[int, dict[str, Any]]:
    key_id, secret = ledger.create_key(order.name or "", **_settings(order))
    return 201, {"id": key_id, "name": order.name, "secret": secret}


def _rotate_key(ledger: Ledger, order: AdminOrder) -> tuple[int, dict[str, Any]]:
    grace_s = order.settings.get("grace_s", DEFAULT_GRACE_S)
    key_id, secret = ledger.rotate_key(order.name or "", grace_s)
    return 200, {"id": key_id, "name": order.name, "secret": secret}


def _create_team(ledger: Ledger, order: AdminOrder) -> tuple[int, dict[str, Any]]:
    return 201, {"id": ledger.create_team(order.name or "", **_settings(order)), "name": order.name}


def _changed(do: Callable[..., str]) -> tuple[int, dict[str, Any]]:
    return 200, {"id": do()}


def _settings(order: AdminOrder) -> Any:
    return dict(order.settings)


def _usage(ledger: Ledger, order: AdminOrder) -> list[dict[str, Any]]:
    wanted: Mapping[str, Any] = order.settings
    found = ledger.usage.sum_up(wanted["by"], wanted["since"], wanted["until"])
    return [asdict(one) for one in found]


_READ: dict[tuple[str, str], Callable[[Ledger, AdminOrder], Any]] = {
    ("keys", "list"): lambda ledger, _: [asdict(one) for one in ledger.list_keys()],
    ("teams", "list"): lambda ledger, _: [asdict(one) for one in ledger.list_teams()],
    ("usage", "list"): _usage,
    ("alerts", "list"): lambda ledger, _: [
        asdict(alert) | {"state": state} for alert, state in ledger.alerts.list_alerts()
    ],
    ("log", "list"): lambda ledger, _: [asdict(one) for one in ledger.log.list_deeds()],
}
_CHANGES: dict[tuple[str, str], Callable[[Ledger, AdminOrder], tuple[int, dict[str, Any]]]] = {
    ("keys", "create"): _create_key,
    ("keys", "rotate"): _rotate_key,
    ("keys", "change"): lambda ledger, order: _changed(
        lambda: ledger.change_key(order.name or "", **_settings(order))
    ),
    ("keys", "revoke"): lambda ledger, order: _changed(lambda: ledger.revoke_key(order.name or "")),
    ("teams", "create"): _create_team,
    ("teams", "change"): lambda ledger, order: _changed(
        lambda: ledger.change_team(order.name or "", **_settings(order))
    ),
    ("teams", "remove"): lambda ledger, order: _changed(lambda: ledger.remove_team(order.name or "")),
}
