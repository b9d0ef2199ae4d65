"""Make a set of questions from the registered generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from pipelines.questions.draft import Draft, Row, draft_row, questions_table
from pipelines.questions.generator import Generator, list_generators
from warehouse import InputError, TooFewError

#: A generator that yields this many drafts in a row that are already taken is held to have no more.
_PATIENCE = 200

#: A generator's name and one of its levels.
Cell = tuple[str, int]
Accept = Callable[[Row], bool]


def make_questions(
    domains: Sequence[str] | None = None,
    per_domain: int = 40,
    seed: int = 0,
    round: str = "r000",
    difficulty: int | None = None,
    *,
    exclude: Collection[str] = (),
    accept: Accept = lambda row: True,
    allow_fewer: bool = False,
) -> pa.Table:
    """Return ``per_domain`` new questions for each domain, spread evenly over its generators and levels.

    The seed decides which questions are drawn; a question's own text, options, order and id do not depend on
    it, so two rounds that draw the same question share its row. No two questions of a table have the same
    prompt.

    Args:
        domains: names of domains (``"geography"``) or single generators (``"geography/capital"``); None takes
            the default set.
        per_domain: questions for each entry of ``domains``.
        seed: decides the draw; the same arguments give the same questions.
        round: the round they belong to.
        difficulty: only this level; generators that do not reach it sit out.
        exclude: question ids not to return again, such as those that the warehouse already holds.
        accept: tells which rows may be taken.
        allow_fewer: return what there is when a domain cannot fill ``per_domain``, instead of raising.

    Raises:
        InputError: unknown domain, no generator at that difficulty, or a count under one.
        TooFewError: a domain has fewer questions than asked (unless ``allow_fewer``).
    """
    if per_domain < 1:
        raise InputError(
            f"per_domain is {per_domain}", where="make_questions", fix="ask for at least one question"
        )
    drawer = _Drawer(seed, round, exclude, accept)
    rows: list[Row] = []
    for name, generators in select_generators(domains, difficulty).items():
        cells = [
            (generator, level)
            for level in range(max(g.levels for g in generators))
            for generator in generators
            if level < generator.levels and difficulty in (None, level)
        ]
        found = drawer.take(cells, per_domain)
        if len(found) < per_domain and not allow_fewer:
            raise TooFewError(
                f"{len(found)} questions left, {per_domain} asked for",
                where=f"domain {name!r}",
                fix="ask for fewer, exclude fewer, allow other difficulties, or pass allow_fewer=True",
            )
        rows += found
    return questions_table(rows)


def make_cells(
    counts: Mapping[Cell, int],
    seed: int = 0,
    round: str = "r000",
    *,
    exclude: Collection[str] = (),
    accept: Accept = lambda row: True,
) -> pa.Table:
    """Return so many new questions of each generator and level; what one cell lacks, the others make up for.

    Args:
        counts: questions by (generator's name, level).
        seed: decides the draw; the same arguments give the same questions.
        round: the round they belong to.
        exclude: question ids not to return again.
        accept: tells which rows may be taken.

    Raises:
        InputError: an unknown generator or level.
    """
    known = {g.name: g for g in list_generators()}
    for name, level in counts:
        if name not in known or not 0 <= level < known[name].levels:
            raise InputError(f"no generator {name!r} with level {level}", where="make_cells")
    drawer = _Drawer(seed, round, exclude, accept)
    rows: list[Row] = []
    for (name, level), count in counts.items():
        rows += drawer.take([(known[name], level)], count)
    lacking = sum(counts.values()) - len(rows)
    rows += drawer.take([(known[name], level) for (name, level), count in counts.items() if count], lacking)
    return questions_table(rows)


class _Drawer:
    """Draws rows that nobody took yet; what it took from a generator and level stays taken."""

    def __init__(self, seed: int, round: str, exclude: Collection[str], accept: Accept) -> None:
        self._settings = seed, round, datetime.now(UTC), exclude, accept
        self._taken: set[str] = set()
        self._streams: dict[Cell, Iterator[Row]] = {}

    def take(self, cells: Sequence[tuple[Generator, int]], count: int) -> list[Row]:
        """Up to ``count`` rows, in turn from each cell that has any left."""
        streams = [
            self._streams.setdefault(
                (generator.name, level), _fresh_rows(generator, level, *self._settings, self._taken)
            )
            for generator, level in cells
        ]
        found: list[Row] = []
        while streams and len(found) < count:
            alive: list[Iterator[Row]] = []
            for stream in streams:
                if len(found) < count and (row := next(stream, None)) is not None:
                    found.append(row)
                    alive.append(stream)
            streams = alive
        return found


def select_generators(
    domains: Sequence[str] | None, difficulty: int | None = None
) -> dict[str, list[Generator]]:
    """Return the generators behind names of domains or single generators; None takes the default set.

    Raises:
        InputError: an unknown name, or no generator at that difficulty.
    """
    known = list_generators()
    names = (
        list(dict.fromkeys(domains))
        if domains is not None
        else sorted({g.domain for g in known if g.default})
    )
    groups: dict[str, list[Generator]] = {}
    for name in names:
        of_name = [g for g in known if name == g.name or (name == g.domain and g.default)]
        of_name = of_name or [g for g in known if name == g.domain]
        if not of_name:
            raise InputError(
                f"no generator or domain is called {name!r}",
                where="domains",
                fix="use one of " + ", ".join(sorted({g.domain for g in known})),
            )
        groups[name] = [g for g in of_name if difficulty is None or 0 <= difficulty < g.levels]
        if not groups[name]:
            raise InputError(
                f"nothing in {name!r} has difficulty {difficulty}",
                where="difficulty",
                fix=f"use 0 to {max(g.levels for g in of_name) - 1}",
            )
    return groups


def _fresh_rows(
    generator: Generator,
    level: int,
    seed: int,
    round: str,
    created_at: datetime,
    exclude: Collection[str],
    accept: Accept,
    taken: set[str],
) -> Iterator[Row]:
    """Yield rows whose prompt nobody took yet and which may be taken; ``taken`` grows as it goes."""
    drafts: Iterator[Draft] = generator.draw(level, random.Random(f"{seed} {generator.name} {level}"))
    misses = 0
    for draft in drafts:
        row = draft_row(
            draft,
            source=generator.source,
            domain=generator.domain,
            subject=generator.subject,
            difficulty=level,
            round=round,
            created_at=created_at,
        )
        if draft.key in taken or row["question_id"] in exclude or not accept(row):
            misses += 1
            if misses == _PATIENCE:
                return
            continue
        misses = 0
        taken.add(draft.key)
        yield row
