"""The mark of a home: by it a node tells whether the home that it sees is the endpoint's."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from warehouse import CannotRunError
from warehouse.files import read_or_make

MARK_NAME = "home.mark"


def mark_home(home: Path) -> str:
    """Return the mark of a home, made where there is none; all who ask at once get the same.

    Raises:
        CannotRunError: it can be neither read nor made.
    """
    path = home / MARK_NAME
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return read_or_make(path, lambda: secrets.token_hex(16).encode()).decode("ascii")
    except OSError as error:
        raise CannotRunError(
            f"the mark of the home cannot be used ({error.strerror})",
            where=str(path),
            fix="let this user read and write the home",
        ) from None


def sees_home(home: Path, mark: str | None) -> bool:
    """Tell whether this node sees the home that has the mark; without a mark nobody asks."""
    if mark is None:
        return True
    try:
        return (home / MARK_NAME).read_text(encoding="ascii") == mark
    except (OSError, UnicodeDecodeError):
        return False


def check_home(home: Path, mark: str | None) -> None:
    """See that this node sees the endpoint's home.

    Raises:
        CannotRunError: it sees another folder there, or none.
    """
    if not sees_home(home, mark):
        raise CannotRunError(
            f"node {socket.gethostname()} does not see the endpoint's home there",
            where=str(home),
            fix="put the home on a disk that all nodes share, or name the nodes that see it: `node_labels`",
        )
