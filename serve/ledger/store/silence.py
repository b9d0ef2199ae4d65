"""Notice a PostgreSQL server that stands still while the system under it lives."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from serve.ledger.store.postgres_connection import LONGEST_STATEMENT_S, Connection

SILENT_SERVER_S = LONGEST_STATEMENT_S + 5.0  # a server that lives has ended the statement by then


class SilenceWatch:
    """Ends connections whose server says nothing for long.

    The system under a server that stands still takes all that is sent, so no limit of TCP's is reached.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Connection, float] | None = None
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """Watch what is done in the block."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, args=(SILENT_SERVER_S,), daemon=True)
            self._thread.start()
        self._waiting = connection, time.monotonic() + SILENT_SERVER_S
        try:
            yield
        finally:
            self._waiting = None

    def close(self) -> None:
        """Watch no more."""
        self._is_closed.set()

    def _look(self, within_s: float) -> None:
        while not self._is_closed.wait(within_s / 5):
            waiting = self._waiting
            if waiting is not None and time.monotonic() > waiting[1]:
                with (
                    suppress(OSError, psycopg.Error),
                    socket.socket(fileno=os.dup(waiting[0].fileno())) as end,
                ):
                    end.shutdown(socket.SHUT_RDWR)
