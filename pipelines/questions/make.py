"""Make a set of questions from the registered generators."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from pipelines.questions.draft import Draft, Row, draft_row, questions_table
from pipelines.questions.generator import Generator, list_generators
from warehouse import InputError

#: A generator that yields this many drafts in a row that are already taken is held to have no more.
_PATIENCE = 200


def make_questions(
    domains: Sequence[str] | None = None,
    per_domain: int = 40,
    seed: int = 0,
    round: str = "r000",
    difficulty: int | None = None,
    *,
    exclude: Collection[str] = (),
    allow_fewer: bool = False,
) -> pa.Table:
    """Return ``per_domain`` new questions for each domain, spread evenly over its generators and levels.

    The seed decides which questions are drawn; a question's own text, options, order and id do not depend on
    it, so two rounds that draw the same question share its row. No two questions of a table have the same
    prompt.

    Args:
        domains: names of domains (``"geography"``) or single generators (``"geography/capital"``); None takes
        the
            default set.
        per_domain: questions for each entry of ``domains``.
        seed: decides the draw; the same arguments give the same questions.
        round: the round they belong to.
        difficulty: only this level; generators that do not reach it sit out.
        exclude: question ids not to return again, such as those that the warehouse already holds.
        allow_fewer: return what there is when a domain cannot fill ``per_domain``, instead of raising.

    Raises:
        InputError: unknown domain, no generator at that difficulty, a count under one, or a domain with fewer
            questions than asked (unless ``allow_fewer``).
    """
    if per_domain < 1:
        raise InputError(
            f"per_domain is {per_domain}", where="make_questions", fix="ask for at least one question"
        )
    groups = _select_generators(domains, difficulty)
    created_at = datetime.now(UTC)
    taken: set[str] = set()
    rows: list[Row] = []
    for name, generators in groups.items():
        cells = [
            (generator, level)
            for level in range(max(g.levels for g in generators))
            for generator in generators
            if level < generator.levels and difficulty in (None, level)
        ]
        found: list[Row] = []
        streams = [
            _fresh_rows(generator, level, seed, round, created_at, taken, exclude)
            for generator, level in cells
        ]
        while streams and len(found) < per_domain:
            alive: list[Iterator[Row]] = []
            for stream in streams:
                if len(found) < per_domain and (row := next(stream, None)) is not None:
                    found.append(row)
                    alive.append(stream)
            streams = alive
        if len(found) < per_domain and not allow_fewer:
            raise InputError(
                f"{len(found)} questions left, {per_domain} asked for",
                where=f"domain {name!r}",
                fix="ask for fewer, exclude fewer, allow other difficulties, or pass allow_fewer=True",
            )
        rows += found
    return questions_table(rows)


def _select_generators(domains: Sequence[str] | None, difficulty: int | None) -> dict[str, list[Generator]]:
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
    taken: set[str],
    exclude: Collection[str],
) -> Iterator[Row]:
    """Yield rows whose prompt nobody took yet and whose id is not excluded; ``taken`` grows as it goes."""
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
        if draft.key in taken or row["question_id"] in exclude:
            misses += 1
            if misses == _PATIENCE:
                return
            continue
        misses = 0
        taken.add(draft.key)
        yield row
