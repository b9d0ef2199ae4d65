"""The story of each gap that the forge worked on: found, trained, tested, and what it bought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.parts import Cell, Paragraph, Part, Section, money, table_of
from pipelines.selfplay.round_record import RoundRecord

STEPS = ("settings", "questions", "train", "test", "add", "promotion", "bought")


@dataclass(frozen=True)
class Story:
    """What the record of a gap says, as far as it got: steps by name."""

    gap: str
    steps: Mapping[str, Mapping[str, Any]]


def read_stories(home: Path) -> tuple[Story, ...]:
    """The records of a home's forge, by gap."""
    stories = []
    for file in sorted(home.glob("forge/*/record.json")):
        record = RoundRecord(file)
        stories.append(Story(file.parent.name, {name: record[name] for name in STEPS if name in record}))
    return tuple(stories)


def tell_specialists(stories: Sequence[Story]) -> Section | None:
    """What was made of each gap; None where the forge was never used."""
    parts: list[Part] = []
    rows: list[tuple[Cell | str, ...]] = []
    for story in stories:
        parts += [Paragraph(line) for line in _lines(story)]
        if (test := story.steps.get("test")) is not None:
            rows += [
                (story.gap, one["name"], Cell(f"{one['questions']:,}", one["questions"]),
                 _interval(one["base"]), _interval(one["specialist"]), _interval(one["difference"]))
                for one in (test["gap"], *test["levels"], test["elsewhere"])
            ]  # fmt: skip
    if rows:
        numbers = ("questions", "base, % [95%]", "specialist, % [95%]", "difference [95%]")
        parts.append(table_of("specialists", ("gap", "tested on", *numbers), rows, numbers=numbers))
    return Section("specialists", "Specialists for gaps", tuple(parts)) if parts else None


def _lines(story: Story) -> list[str]:
    """The story in sentences, a step each."""
    steps = story.steps
    lines = []
    if (settings := steps.get("settings")) is not None:
        lines.append(f"{story.gap}: a specialist of {settings['base']} was begun.")
    if (made := steps.get("questions")) is not None:
        lines.append(
            f"{made['leaks']} training questions that give away an evaluation question were refused."
        )
    if (trained := steps.get("train")) is not None:
        lines.append(
            f"Trained for {trained['steps']} steps in {trained['spent_s'] / 60:.1f} minutes"
            f" ({trained['stopped']}); the best adapter is that of step {trained['best_step']}."
        )
    if (test := steps.get("test")) is not None:
        outcome = test["refused"] or "it goes on to the universe"
        lines.append(f"Training cost {money(test['training_usd'])} USD. Tested: {outcome}.")
    if (added := steps.get("add")) is not None:
        price, limit = (1000 * added[name] for name in ("price_usd", "break_even_usd"))
        worth = f"up to {money(limit)} USD per 1,000 queries" if math.isfinite(limit) else "at any price"
        lines.append(
            f"The universe {'takes' if added['chosen'] else 'does not take'} it: score {added['gain']:+.4f},"
            f" price {money(price)} USD per 1,000 queries, worth it {worth}."
        )
    if (promotion := steps.get("promotion")) is not None:
        lines.append(f"The router with it, version {promotion['version']}, {promotion['verdict']}.")
    if (bought := steps.get("bought")) is not None:
        lines.append(f"It bought: {bought['line']}.")
    return lines


def _interval(found: Mapping[str, float]) -> Cell:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return Cell(f"{value:.1f} [{low:.1f}, {high:.1f}]", found["value"])
