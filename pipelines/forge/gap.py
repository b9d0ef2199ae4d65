"""A gap that can be closed: kinds of questions for which generators with checkers are registered."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.questions.brief import cells_of
from pipelines.questions.make import Cell, select_generators


@dataclass(frozen=True)
class TargetGap:
    """What a specialist is to learn: a domain's generators or one (``domain/subject``), and their levels."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def slug(self) -> str:
        """The name as a part of file names and of experts' names."""
        return self.name.replace("/", "-").replace("_", "-")


def find_target(name: str, *, levels: tuple[int, ...] = ()) -> TargetGap:
    """Return the gap of a domain or of one generator; with ``levels`` these only.

    Raises:
        InputError: no generator is called so, or none of them has these levels.
    """
    from warehouse import InputError

    cells = tuple(cells_of(select_generators([name])))
    if levels:
        cells = tuple(cell for cell in cells if cell[1] in levels)
        if missing := sorted(set(levels) - {level for _, level in cells}):
            raise InputError(f"{name!r} has no level {missing[0]}", where="levels", fix="leave it out")
    return TargetGap(name, cells)
