"""The spend cap of a round as the actor that its experts ask, and what it booked that left no row.

A round's spending is the sum over its rows. Money can go without one: a request that timed out and may be
billed, an answer lost with the process that asked, a reply that could not be read. The next step of the
round, and a run that goes on with it, must count that too. So each cap keeps the sum in a small file of its
own under the warehouse, which holds at any moment at least what was booked beyond the rows, and exactly that
once the cap is closed.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from experts import SpendCap
from experts.backends.spend_cap import Grant
from warehouse import Warehouse
from warehouse.files import FileStore

_FOLDER = "unrecorded"

#: Sums of many small floats carry rounding errors of far less than any price.
_ROUNDING_USD = 1e-12

#: What is written down while answers are under way, over what they came to until then.
_AHEAD = 1.5

#: A cap gets so long to write down what it booked.
_CLOSE_S = 30.0


class RoundCap:
    """A :class:`experts.SpendCap` that keeps what left no row; made as a Ray actor, whose calls take turns.

    Args:
        cap_usd: what may be spent in all.
        warehouse_url: where answers go.
        round: under which they are stored.

    Raises:
        InputError: the cap is not a finite number of 0 or more.
    """

    def __init__(self, cap_usd: float, warehouse_url: str, round: str) -> None:
        self._cap = SpendCap(cap_usd)
        self._files = FileStore(warehouse_url)
        self._name = f"{_round_folder(round)}/{uuid.uuid4().hex}.json"
        self._stored_usd = 0.0
        self._kept_usd = 0.0

    def reserve(self, usd: float, holder: str) -> Grant:
        """Set money aside; see :meth:`experts.SpendCap.reserve`."""
        return self._cap.reserve(usd, holder)

    def settle(self, reserved_usd: float, spent_usd: float, holder: str) -> None:
        """Book what it came to; see :meth:`experts.SpendCap.settle`."""
        self._cap.settle(reserved_usd, spent_usd, holder)
        self._keep_more()

    def forfeit(self, holder: str) -> None:
        """Book what holders had out who will not settle it; see :meth:`experts.SpendCap.forfeit`."""
        self._cap.forfeit(holder)
        self._keep_more()

    def count_stored(self, usd: float) -> None:
        """Hear that rows of so much money are in the warehouse."""
        self._stored_usd += usd
        self._keep(_AHEAD * self._unrecorded_usd())

    def close(self) -> None:
        """Book what is still out, and keep exactly what left no row."""
        self._cap.forfeit("")
        self._keep(self._unrecorded_usd())

    def _unrecorded_usd(self) -> float:
        return self._cap.spent_usd() - self._stored_usd

    def _keep_more(self) -> None:
        # Half as much again: a file written for every answer, which is then stored, would cost more than
        # it tells, and everybody waits for it.
        if self._unrecorded_usd() > self._kept_usd + _ROUNDING_USD:
            self._keep(_AHEAD * self._unrecorded_usd())

    def _keep(self, usd: float) -> None:
        if usd <= _ROUNDING_USD:
            if self._kept_usd:
                self._files.delete(self._name)
            self._kept_usd = 0.0
            return
        self._kept_usd = usd
        self._files.write(self._name, json.dumps({"usd": self._kept_usd}).encode())


@contextlib.contextmanager
def hold_cap(
    budget_usd: float | None, warehouse: Warehouse, round: str, *, needed: bool = True
) -> Iterator[Any]:
    """Hold the actor that all experts ask for money; None without a budget or where nothing is asked.

    Raises:
        InputError: the budget is not a finite number of 0 or more.
    """
    if budget_usd is not None:
        SpendCap(budget_usd)  # a bad number is refused here, in words
    if budget_usd is None or not needed:
        yield None
        return
    import ray

    cap = ray.remote(num_cpus=0)(RoundCap).remote(budget_usd, warehouse.url, round)
    try:
        yield cap
    finally:
        # Where this fails, the file holds too much rather than too little.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(cap.close.remote(), timeout=_CLOSE_S)
        ray.kill(cap)


def unrecorded_usd(warehouse: Warehouse, round: str) -> float:
    """Return what the caps of a round booked and its rows do not hold."""
    files = FileStore(warehouse.url)
    names = [name for name in files.list(_round_folder(round)) if name.endswith(".json")]
    return float(sum(json.loads(files.read(name))["usd"] for name in names))


def _round_folder(round: str) -> str:
    return f"{_FOLDER}/round={quote(round, safe='')}"
