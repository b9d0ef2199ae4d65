"""The chemical elements, from ``periodictable``. Levels follow the atomic number: to 20, to 56, to 118."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import periodictable

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

_SOURCE = "periodictable"
_BOUNDS = (0, 20, 56, 118)


@cache
def _elements() -> tuple[tuple[int, str, str], ...]:
    """(atomic number, symbol, name) of the 118 elements, in order."""
    return tuple((e.number, e.symbol, e.name) for e in periodictable.elements if 1 <= e.number <= 118)


def _at(level: int) -> tuple[tuple[int, str, str], ...]:
    return _elements()[_BOUNDS[level] : _BOUNDS[level + 1]]


@generator(domain="chemistry", source=_SOURCE, levels=3)
def symbol(level: int, rng: random.Random) -> Iterator[Draft]:
    """The symbol of an element, among symbols that share a letter with its name where there are enough."""
    every = [symbol for _, symbol, _ in _elements()]
    for _, right, name in shuffled(_at(level), rng):
        alike = [other for other in every if other[0] in (right[0], name[0].upper())]
        yield draft_choice(
            f"What is the chemical symbol of {name}?", right, alike if len(alike) > 3 else every
        )


@generator(domain="chemistry", source=_SOURCE, levels=3)
def element_of_symbol(level: int, rng: random.Random) -> Iterator[Draft]:
    """The element that a symbol stands for."""
    names = [name for _, _, name in _at(level)]
    for _, symbol, name in shuffled(_at(level), rng):
        yield draft_choice(f"Which element has the chemical symbol {symbol}?", name, names)


@generator(domain="chemistry", source=_SOURCE, levels=3)
def atomic_number(level: int, rng: random.Random) -> Iterator[Draft]:
    """The atomic number of an element, among numbers close by."""
    for number, _, name in shuffled(_at(level), rng):
        near = [str(other) for other in range(max(1, number - 6), number + 7)]
        yield draft_choice(f"What is the atomic number of {name}?", str(number), near)


@generator(domain="chemistry", source=_SOURCE, levels=3, default=False)
def heaviest_element(level: int, rng: random.Random) -> Iterator[Draft]:
    """The element with the highest atomic number among four; the level by how far it is ahead."""
    lead = (30, 12, 3)
    while True:
        four = rng.sample(_elements()[:92], 4)
        ranked = sorted(four, reverse=True)
        ahead = ranked[0][0] - ranked[1][0]
        if lead[level] <= ahead and (level == 0 or ahead < lead[level - 1]):
            names = [name for _, _, name in four]
            listed = f"{', '.join(names[:3])} or {names[3]}"
            yield draft_choice(f"Which has the highest atomic number: {listed}?", ranked[0][2], names)
