"""Keeps off the terminal what Ray writes there of a cluster of our own and nobody has to act on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator

_LEVEL = "RAY_BACKEND_LOG_LEVEL"
#: What Ray's C++ part says, at any level, because it was told a level.
_LEVEL_SET = re.compile(rb"[^\n]*Set ray log level from environment variable[^\n]*\n")
_LONGEST_WAIT_S = 1.0


@contextlib.contextmanager
def without_ray_noise() -> Iterator[None]:
    """Start Ray in the block; this process's part of it then writes errors that end it, and nothing less.

    The standard error of Ray's C++ part in the driver is of no use to a person: its metrics agent is late, or
    Ray Data passes a handle to its actors. Errors that matter come as exceptions. Ray's other processes get a
    copy of ``os.environ``, which does not hold the level, and log to their files as ever. A level that the
    environment sets stands.
    """
    logging.getLogger("ray._private.authentication.authentication_token_setup").addFilter(_is_news)
    if _LEVEL in os.environ:
        yield
        return
    os.putenv(_LEVEL, "fatal")
    try:
        with _without_text(_LEVEL_SET):
            yield
    finally:
        os.unsetenv(_LEVEL)


def _is_news(record: logging.LogRecord) -> bool:
    """Asking for a token is as it should be; not asking is a warning, and stays one."""
    return not record.getMessage().startswith("Token authentication is enabled")


@contextlib.contextmanager
def _without_text(unwanted: re.Pattern[bytes]) -> Iterator[None]:
    """Drop a text from what this process writes to its standard error in the block, C++ included."""
    sys.stderr.flush()
    real, (reading, writing) = os.dup(2), os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    passing = threading.Thread(target=_pass_on, args=(reading, real, unwanted), daemon=True)
    passing.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        passing.join(_LONGEST_WAIT_S)  # longer only where a process that was started writes there too


def _pass_on(reading: int, real: int, unwanted: re.Pattern[bytes]) -> None:
    with open(reading, "rb", buffering=0) as source, open(real, "wb", buffering=0) as target:
        while said := source.read(1 << 16):
            target.write(unwanted.sub(b"", said))


def quieten_ray_data() -> None:
    """Let Ray Data show no bars and say nothing but errors, in this process."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # they warn of every engine's memory, every 30 s
    logging.getLogger("ray.data").setLevel(logging.ERROR)
