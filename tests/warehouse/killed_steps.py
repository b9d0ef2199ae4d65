"""A process that is killed before or after one of its writes or deletes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

import warehouse.files


class Killed(BaseException):
    """The process is gone: no handler of ours runs."""


@contextlib.contextmanager
def killed_at(step: int, *, is_before: bool) -> Iterator[None]:
    """End what is done inside at its ``step``-th write or delete, counted from 0; later ones do not come."""
    steps = iter(range(10_000))

    def killed(real: Callable[..., None]) -> Callable[..., None]:
        def act(*args: object) -> None:
            at = next(steps)
            if at == step and is_before:
                raise Killed
            real(*args)
            if at == step:
                raise Killed

        return act

    files = warehouse.files.FileStore
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(files, "write", killed(files.write))
        patch.setattr(files, "delete", killed(files.delete))
        yield
