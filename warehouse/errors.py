"""What can go wrong, as people are told it: one clear message that says what, where and how to fix it.

Each class says who can mend it, and has the exit code of a command that ends in it (``exit_code``); the table
for users is in docs/formats.md. None is a kind of another: who catches one means that one. Who tells a person
whatever it is, as the command line does, catches :class:`LeerooError`.
"""

from __future__ import annotations


class LeerooError(ValueError):
    """What a person is to be told, whatever went wrong; never raised itself.

    The message names what is wrong, where (file, line, field) and how to fix it:

    >>> print(InputError("price is missing", where="catalogue.yaml, line 7", fix="add `price:`"))
    catalogue.yaml, line 7: price is missing. To fix it: add `price:`
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        message = f"{where}: {what}" if where else what
        if fix:
            message = f"{message.rstrip('.')}. To fix it: {fix}"
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        """Cross processes whole: an exception is pickled by its arguments, and ours are keywords."""
        return _rebuild, (type(self), self.what, self.where, self.fix)


class InputError(LeerooError):
    """Something a person gave is wrong: an option, a file, a name, an address. Nothing was written."""


class NotReadyError(LeerooError):
    """Something has to be run first: there is no champion, version, pool, plan or outcome yet."""

    exit_code = 3


class TooFewError(LeerooError):
    """There are too few questions or answers for what was asked of them."""

    exit_code = 4


class InfeasibleError(LeerooError):
    """What was asked for cannot all hold: a budget below the cheapest choice, limits that clash."""

    exit_code = 5


class CannotRunError(LeerooError):
    """This machine or a service cannot do it: a package, a GPU, a key, the hub, Ray or Serve is not there."""

    exit_code = 6


class LedgerAwayError(LeerooError):
    """The database of the ledger cannot be reached now; what was under way may be done again."""

    exit_code = 6


class NobodyMayAnswerError(LeerooError):
    """Every expert that could answer this request was excluded by it or by its key."""


def _rebuild(kind: type[LeerooError], what: str, where: str | None, fix: str | None) -> LeerooError:
    return kind(what, where=where, fix=fix)
