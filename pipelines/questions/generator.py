"""The registry of question generators. A generator is one function; registering it is one decorator.

To add one, put a file into ``generators/`` (every file there is imported) or decorate a function anywhere
else before :func:`pipelines.questions.make_questions` is called::

    @generator(domain="music", source="my notes", levels=2)
    def intervals(level: int, rng: random.Random) -> Iterator[Draft]:
        \"\"\"How many semitones an interval spans.\"\"\"
        yield draft_choice("How many semitones are in a perfect fifth?", "7", ["5", "6", "8", "9"])
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from pipelines.questions.draft import Draft

#: ``draw(level, rng)`` yields drafts of that level in an order that ``rng`` decides, for ever or until it has
#: no more.
Draw = Callable[[int, random.Random], Iterator[Draft]]


@dataclass(frozen=True)
class Generator:
    """One kind of question. ``levels`` counts its difficulties: 0 (easiest) to ``levels - 1``."""

    domain: str
    subject: str
    source: str
    levels: int
    default: bool
    summary: str
    draw: Draw

    @property
    def name(self) -> str:
        """``domain/subject``, which is unique."""
        return f"{self.domain}/{self.subject}"


Item = TypeVar("Item")
_REGISTRY: dict[str, Generator] = {}


def generator(
    *, domain: str, source: str, levels: int = 1, subject: str | None = None, default: bool = True
) -> Callable[[Draw], Draw]:
    """Register the decorated function under ``domain`` and ``subject`` (its own name unless given).

    ``source`` names the data it draws on. ``default=False`` keeps it out of sets that do not ask for it by
    name. The first line of its docstring is its summary.

    Raises:
        ValueError: the name is taken, or there is no level.
    """

    def register(draw: Draw) -> Draw:
        entry = Generator(
            domain=domain,
            subject=subject or draw.__name__,
            source=source,
            levels=levels,
            default=default,
            summary=(draw.__doc__ or "").strip().split("\n")[0],
            draw=draw,
        )
        if levels < 1:
            raise ValueError(f"generator {entry.name} needs at least one level")
        known = _REGISTRY.get(entry.name)
        if known is not None and known.draw.__module__ != draw.__module__:
            raise ValueError(f"two generators are called {entry.name}")
        _REGISTRY[entry.name] = entry
        return draw

    return register


@cache
def _import_generators() -> None:
    from pipelines.questions import generators

    for module in pkgutil.iter_modules(generators.__path__, generators.__name__ + "."):
        importlib.import_module(module.name)


def list_generators() -> tuple[Generator, ...]:
    """Return every known generator, by name."""
    _import_generators()
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def shuffled(items: Iterable[Item], rng: random.Random) -> list[Item]:
    """Return the items in the order that ``rng`` gives; to be repeatable they must come in a fixed order."""
    order = list(items)
    rng.shuffle(order)
    return order
