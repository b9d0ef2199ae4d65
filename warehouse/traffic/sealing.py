"""Texts sealed with the operator's key, by Fernet: AES-128-CBC with HMAC-SHA256, versioned and documented.

A line tells which key sealed it by a fingerprint, so a wrong key is told from damage.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from warehouse.errors import InputError

#: Holds keys, by commas: the first one seals, all of them open.
KEY_VARIABLE = "LEEROO_TEXTS_KEY"
#: Names a file with such keys, one a line.
KEY_FILE_VARIABLE = "LEEROO_TEXTS_KEY_FILE"

_MAKE = "make one with `leeroo traffic make-key`"


class Seal:
    """Closes texts with the first of some keys, and opens what any of them closed.

    Args:
        keys: Fernet keys: 32 bytes in URL-safe base64.
        where: named in messages.

    Raises:
        InputError: one is no such key.
    """

    def __init__(self, keys: Sequence[str], where: str = KEY_VARIABLE) -> None:
        from cryptography.fernet import Fernet

        if not keys:
            raise InputError("it holds no key", where=where, fix=_MAKE)
        self._by: dict[str, Fernet] = {}
        for number, key in enumerate(keys, 1):
            try:
                self._by[_fingerprint(key)] = Fernet(key)
            except ValueError:
                which = f"key {number} of {len(keys)} is" if len(keys) > 1 else "this is"
                raise InputError(f"{which} no key for texts", where=where, fix=_MAKE) from None
        self.fingerprints = tuple(self._by)

    def close(self, content: bytes) -> tuple[str, str]:
        """Return the sealed content, and the fingerprint of the key that opens it."""
        name = self.fingerprints[0]
        return self._by[name].encrypt(content).decode(), name

    def open(self, sealed: str, fingerprint: str, where: str) -> bytes:
        """Return what was sealed.

        Raises:
            InputError: another key sealed it, or it was changed since.
        """
        from cryptography.fernet import InvalidToken

        if fingerprint not in self._by:
            raise wrong_key(fingerprint, where)
        try:
            return self._by[fingerprint].decrypt(sealed)
        except InvalidToken:
            raise InputError("a sealed text was changed since it was written", where=where) from None


def wrong_key(fingerprint: str, where: str, *, has_key: bool = True) -> InputError:
    """The one message where texts cannot be opened with what was given."""
    what = "another key" if has_key else "a key, and none is given"
    return InputError(
        f"the texts here are sealed with {what} (fingerprint {fingerprint})",
        where=where,
        fix=f"give that key in {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, after a new one and a comma where it "
        "is to be replaced; if it is lost, `leeroo traffic forget --before` today removes what it sealed",
    )


def make_key() -> str:
    """Return a new key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def key_file_named(given: Path | None) -> Path | None:
    """Return the absolute path of the file that is given, else of that which the environment names."""
    named = os.environ.get(KEY_FILE_VARIABLE)
    path = given or (Path(named) if named and not os.environ.get(KEY_VARIABLE) else None)
    return None if path is None else path.expanduser().absolute()


def read_seal(key: str | None = None, key_file: Path | None = None) -> Seal | None:
    """Return the seal of the file or key that is given, else of what the environment names; None for none.

    Raises:
        InputError: one is no key, or the file cannot be read.
    """
    if key_file is None:
        told = key or os.environ.get(KEY_VARIABLE, "")
        if told.strip():
            return Seal([part.strip() for part in told.split(",") if part.strip()])
        key_file = key_file_named(None)
        if key_file is None:
            return None
    try:
        lines = key_file.expanduser().read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(
            f"the key of the texts cannot be read ({why})",
            where=str(key_file),
            fix="let this user read it, or name another file",
        ) from None
    return Seal(lines, where=str(key_file))


def _fingerprint(key: str) -> str:
    return hashlib.sha256(b"leeroo texts key" + key.encode()).hexdigest()[:8]
