"""When an ingress is killed, another process ends its streams with an error event, as OpenAI's clients want.

Behind HAProxy nobody else could: it passes on what an ingress sends and has no words of its own in the middle
of an answer. The process shares the connections of streams that are under way, and writes to them only when
the ingress is gone. It needs nothing but the standard library: ``last_words.py PROCESS``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from typing import Any

_LONGEST = 65_536
_DYING_S = 2.0  # a process that is killed closes its files first, and is gone then


class Witness:
    """Knows which connections carry streams. What goes wrong here costs the last words, and no stream."""

    def __init__(self, words: bytes) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-IS", __file__, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._numbers = itertools.count()
        self._channel.send(b"w" + words)

    def watch(self, send: Any) -> bytes | None:
        """Have the connection behind uvicorn's ``send`` ended properly; return what to give to `forget`."""
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        connection = transport.get_extra_info("socket") if transport is not None else None
        if connection is None:
            return None
        number = str(next(self._numbers)).encode()
        try:
            socket.send_fds(self._channel, [b"+" + number], [connection.fileno()])
        except (OSError, ValueError):  # it is gone, or does not keep up
            return None
        return number

    def forget(self, number: bytes) -> None:
        """Say that a stream has ended."""
        try:
            self._channel.send(b"-" + number)
        except OSError:  # it must not speak on this connection any more
            self._channel.close()


def _speak_for(process: int, channel: socket.socket) -> None:
    words, held = b"", dict[bytes, int]()
    while True:
        said, files, _, _ = socket.recv_fds(channel, _LONGEST, 1)
        if not said:
            break
        kind, number = said[:1], said[1:]
        if kind == b"w":
            words = b"%x\r\n%s\r\n0\r\n\r\n" % (len(number), number)
        elif kind == b"+" and files:
            held[number] = files[0]
        elif kind == b"-" and number in held:
            os.close(held.pop(number))
    ends = time.monotonic() + _DYING_S
    while os.getppid() == process and time.monotonic() < ends:
        time.sleep(0.005)
    if os.getppid() != process:
        for file in held.values():
            with contextlib.suppress(OSError):
                os.write(file, words)


if __name__ == "__main__":
    _speak_for(int(sys.argv[1]), socket.socket(fileno=0))
