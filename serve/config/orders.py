"""What an operator tells a running endpoint: whom to leave alone, to read the catalogue again, to close.

A file in the home says it, so that it reaches every ingress and holds when the endpoint starts again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from warehouse import InputError

ORDERS_NAME = "orders.json"
COME_BACK_S = 30.0  # told to clients where the operator does not say when to come back


@dataclass(frozen=True)
class Orders:
    """What an operator wants of a running endpoint.

    Attributes:
        drained: experts that no request is sent to any more.
        reloads: how often the catalogue was to be read again.
        closed_for_s: while the endpoint takes no new requests, what clients are told to wait; else None.
    """

    drained: frozenset[str] = frozenset()
    reloads: int = 0
    closed_for_s: float | None = None


def read_orders(home: Path) -> Orders:
    """Return the orders of a home; none where nothing was ever ordered.

    Raises:
        InputError: the file is damaged.
    """
    path = home / ORDERS_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        closed = content.get("closed_for_s")  # earlier versions wrote none
        return Orders(
            frozenset(map(str, content["drained"])),
            int(content["reloads"]),
            None if closed is None else float(closed),
        )
    except FileNotFoundError:
        return Orders()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "this file does not say which experts are drained",
            where=str(path),
            fix="delete it, and order again",
        ) from None


def order_drain(home: Path, expert: str) -> None:
    """Order that no request is sent to an expert any more; those under way finish."""
    _write(home, lambda orders: replace(orders, drained=orders.drained | {expert}))


def order_resume(home: Path, expert: str) -> None:
    """Take the order back that an expert be left alone."""
    _write(home, lambda orders: replace(orders, drained=orders.drained - {expert}))


def order_reload(home: Path) -> None:
    """Order that the catalogue be read again."""
    _write(home, lambda orders: replace(orders, reloads=orders.reloads + 1))


def order_close(home: Path, come_back_s: float) -> None:
    """Order that no new requests are taken, for maintenance; those under way finish."""
    _write(home, lambda orders: replace(orders, closed_for_s=come_back_s))


def order_open(home: Path) -> None:
    """Order that requests are taken again."""
    _write(home, lambda orders: replace(orders, closed_for_s=None))


def _write(home: Path, change: Callable[[Orders], Orders]) -> None:
    path = home / ORDERS_NAME
    with FileLock(path.with_suffix(".lock")):
        orders = change(read_orders(home))
        content = asdict(orders) | {"drained": sorted(orders.drained)}
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.replace(path)
