"""Keyed hashes of the traffic: equal texts are equal, and without the home's key nobody can test a guess."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Literal

from warehouse.errors import CannotRunError
from warehouse.files import read_or_make

TRAFFIC_FOLDER = "traffic"  # in a home: what belongs to the traffic and is no table
KEY_FILE = "hash.key"
_KEY_BYTES = 32

Kind = Literal["text", "user", "conversation"]  # hashes of different kinds never meet


def keyed_hash(key: bytes, kind: Kind, content: str) -> str:
    """Return 32 hex digits: BLAKE2b (RFC 7693) with the key, and the kind as its person.

    >>> keyed_hash(b"k" * 32, "text", "hello") == keyed_hash(b"k" * 32, "user", "hello")
    False
    """
    digest = hashlib.blake2b(
        content.encode(errors="surrogatepass"), key=key, person=kind.encode(), digest_size=16
    )
    return digest.hexdigest()


def traffic_folder(home: Path) -> Path:
    """Return the home's folder for the traffic, made for its owner alone where it is not there.

    Raises:
        CannotRunError: it cannot be made.
    """
    folder = home / TRAFFIC_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotRunError(
            f"the folder cannot be made ({error.strerror})",
            where=str(folder),
            fix="let this user write there",
        ) from None
    return folder


def read_hash_key(home: Path) -> bytes:
    """Return the home's key of the hashes, made with mode 600 where there is none.

    Several processes may ask at once: all get the same one.

    Raises:
        CannotRunError: it can be neither read nor made, or is none.
    """
    path = traffic_folder(home) / KEY_FILE
    try:
        key = read_or_make(path, lambda: secrets.token_bytes(_KEY_BYTES))
    except OSError as error:
        raise CannotRunError(
            f"the key of the traffic's hashes cannot be used ({error.strerror})",
            where=str(path),
            fix="let this user read and write it and its folder",
        ) from None
    if len(key) != _KEY_BYTES:
        raise CannotRunError(
            f"it has {len(key)} bytes, not {_KEY_BYTES}",
            where=str(path),
            fix="put a copy of it back; without it new hashes would not meet those that are kept",
        )
    return key
