"""Stop an endpoint in good order: refuse new requests, finish those under way, settle the books."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from serve.config import ServeConfig
from serve.ledger.ledger import Ledger
from serve.ledger.messages import Drained
from serve.ledger.store.place import ledger_place
from serve.ledger.traffic.carrying import carry_traffic
from warehouse import LeerooError

logger = logging.getLogger("ray.serve")

_CALL_S = 5.0
_FLUSH_S = 5.0  # for traces at most: a receiver that does not answer keeps no endpoint from its end
_GRACE_S = 3.0  # after the time for stopping, for those that are told that they end
_AT_ONCE = 130  # the exit code of a second Ctrl-C


def drain_serving(
    config: ServeConfig, app_name: str, on_progress: Callable[[int], None] | None = None
) -> Drained:
    """Refuse new requests, and wait for those under way, ``config.drain_s`` at most.

    Args:
        on_progress: told how many are under way.
    """
    from ray import serve as ray_serve

    bookkeeper = ray_serve.get_deployment_handle("bookkeeper", app_name)
    began = time.monotonic()
    ends = time.monotonic() + config.drain_s + _GRACE_S
    drained = Drained(0, ())
    while time.monotonic() < ends:
        try:
            drained = bookkeeper.drain.remote(config.drain_s).result(timeout_s=_CALL_S)
        except Exception:  # it may be starting again; nothing is let in meanwhile either
            time.sleep(0.5)
            continue
        if on_progress is not None:
            on_progress(drained.under_way)
        if not drained.under_way:
            break
        time.sleep(0.2)
    if config.trace:
        _flush_traces(app_name, min(_FLUSH_S, max(1.0, began + config.drain_s - time.monotonic())))
    return drained


def _flush_traces(app_name: str, within_s: float) -> None:
    """Have the traces brought away, as far as the time goes; what is left is lost."""
    from ray import serve as ray_serve

    try:
        traces = ray_serve.get_deployment_handle("traces", app_name)
        traces.flush.remote(within_s).result(timeout_s=within_s + 1.0)
    except Exception as error:  # nothing of the endpoint's work hangs on them
        logger.warning("the last traces are lost (%s)", type(error).__name__)


def close_books(config: ServeConfig, drained: Drained) -> int:
    """Settle what processes that are gone left open, and bring the traffic to the warehouse.

    Returns how many calls were left open.
    """
    ledger = Ledger(ledger_place(config.home, config.ledger))
    try:
        ended = sum(ledger.bury(owner) for owner in drained.owners)
    finally:
        ledger.close()
    try:
        carry_traffic(config)
    except (
        LeerooError,
        OSError,
    ) as error:  # it stays in the ledger: the next endpoint of this home brings it
        logger.warning("the traffic stays in the ledger for now: %s", error)
    return ended


class StopSignal:
    """Ctrl-C and SIGTERM, taken as a wish to stop; the second one ends this process at once."""

    def __init__(self) -> None:
        self._wished = threading.Event()
        self._before: dict[int, Any] = {}

    def wait(self) -> None:
        """Return when somebody wishes to stop."""
        while not self._wished.wait(0.5):  # a wait without an end would not let the signal in
            pass

    def __enter__(self) -> Self:
        """Begin to listen for it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the signals as they were, but for one that comes while all is being put away."""
        for number, before in self._before.items():
            if not self._wished.is_set():
                signal.signal(number, before)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._wished.is_set():
            os._exit(_AT_ONCE)
        self._wished.set()
