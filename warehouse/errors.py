"""The one error class for bad input, shown to people as a single clear message."""

from __future__ import annotations


class InputError(ValueError):
    """Something a person gave us is wrong; nothing has been written.

    The message names what is wrong, where (file, line, field) and how to mend it:

    >>> print(InputError("price is missing", where="catalogue.yaml, line 7", fix="add `price:`"))
    catalogue.yaml, line 7: price is missing. To mend it: add `price:`
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        message = f"{where}: {what}" if where else what
        if fix:
            message = f"{message.rstrip('.')}. To mend it: {fix}"
        super().__init__(message)
