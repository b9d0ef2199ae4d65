"""A wire to a server's Unix socket that breaks where a test likes."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class CutWire:
    """Carries bytes both ways; every connection breaks after some of them, as ``rng`` says, while it is bad.

    Args:
        folder: where the server's socket lies.
        mine: the folder of the wire's own end.
    """

    def __init__(self, folder: Path, mine: Path, rng: random.Random) -> None:
        self._there, self._rng = str(folder / SOCKET), rng
        self.is_bad = True
        self.cuts = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(mine / SOCKET))
        self._listening.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._there)
                left = [self._rng.randrange(1_500, 25_000)]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(one, other, left), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while sent := one.recv(self._rng.randrange(1, 400)):
                left[0] -= len(sent)
                if self.is_bad and left[0] < 0:
                    self.cuts += 1
                    break
                other.sendall(sent)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
