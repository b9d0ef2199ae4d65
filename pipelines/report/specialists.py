"""The story of each gap that the forge worked on: found, trained, tested, and what it bought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.parts import Cell, Paragraph, Part, Section, money, percent, points, table_of
from pipelines.selfplay.round_record import RoundRecord

STEPS = ("judgement", "plan", "settings", "questions", "train", "test", "add", "promotion", "bought")


@dataclass(frozen=True)
class Story:
    """What the record of a gap says, as far as it got: steps by name."""

    gap: str
    steps: Mapping[str, Mapping[str, Any]]


def read_stories(home: Path) -> tuple[Story, ...]:
    """The records of a home's forge, by gap."""
    stories = []
    for file in sorted({path.with_name("record.json") for path in home.glob("forge/*/*.json")}):
        record = RoundRecord(file)
        steps = {name: record[name] for name in STEPS if name in record}
        # A plan that was asked for alone stands beside the record: another one may be made at other prices.
        if "plan" not in steps and (alone := RoundRecord(file.with_name("plan.json"))) and "plan" in alone:
            steps["plan"] = alone["plan"]
        stories.append(Story(file.parent.name, steps))
    return tuple(stories)


def tell_specialists(stories: Sequence[Story]) -> Section | None:
    """What was made of each gap; None where the forge was never used."""
    told = [story for story in stories if story.steps]
    if not told:
        return None
    parts: list[Part] = [
        table_of("gaps-worked-on", COLUMNS, [_summary(one) for one in told], numbers=NUMBERS)
    ]
    rows: list[tuple[Cell | str, ...]] = []
    for story in told:
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
    return Section("specialists", "Specialists for gaps", tuple(parts))


NUMBERS = ("part", "before, %", "specialist, % [95%]", "bought, points [95%]", "took", "cost")
COLUMNS = ("gap", "became", *NUMBERS)


def _summary(story: Story) -> tuple[Cell | str, ...]:
    """A row: what became of the gap, what it took and what it bought."""
    steps = story.steps
    plan, test, bought = (steps.get(name) for name in ("plan", "test", "bought"))
    part = steps["judgement"]["share"] if "judgement" in steps else plan["share"] if plan else None
    gained = bought.get("difference") if bought else None
    seconds, cost = (bought.get(name) if bought else None for name in ("spent_s", "spent_usd"))
    return (
        story.gap,
        _outcome(story),
        percent(part),
        Cell("-", -1.0) if test is None else Cell(f"{100 * test['gap']['base']['value']:.1f}"),
        Cell("-", -1.0) if test is None else _interval(test["gap"]["specialist"]),
        Cell("-", -1.0) if gained is None else points(gained),
        Cell("-", -1.0) if seconds is None else Cell(f"{seconds / 60:.0f} min", seconds),
        Cell("-", -1.0) if cost is None else Cell(money(cost), cost),
    )


def _outcome(story: Story) -> str:
    steps = story.steps
    if (promotion := steps.get("promotion")) is not None:
        return "closed" if promotion["promoted"] else "not promoted"
    if (added := steps.get("add")) is not None and not added["chosen"]:
        return "left by the universe"
    if (test := steps.get("test")) is not None and test["refused"]:
        return "failed its test"
    if (plan := steps.get("plan")) is not None and not plan["pays"]:
        return "does not pay"
    return "begun"


def _lines(story: Story) -> list[str]:
    """The story in sentences, a step each; the first names the gap."""
    steps = story.steps
    lines = []
    if (judged := steps.get("judgement")) is not None:
        held = f"{len(judged['ids'])} questions were set aside to judge by, {judged['of_gap']} of them in it"
        lines.append(f"It holds {judged['share']:.1%} of {judged['told_by']}; {held}.")
    if (plan := steps.get("plan")) is not None:
        reach = plan["expected"]
        lines.append(
            f"Planned: the best expert is right in {plan['now']:.1%}, a specialist of {plan['base']} in"
            f" {reach['low']:.1%} to {reach['high']:.1%}. Does it pay? {plan['reason']}."
        )
    if (settings := steps.get("settings")) is not None:
        lines.append(f"A specialist of {settings['base']} was begun.")
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
        lines.append(f"Training cost {money(test['training_usd'])}. Tested: {outcome}.")
    if (added := steps.get("add")) is not None:
        price, limit = (1000 * added[name] for name in ("price_usd", "break_even_usd"))
        worth = f"up to {money(limit)} per 1,000 queries" if math.isfinite(limit) else "at any price"
        lines.append(
            f"The universe {'takes' if added['chosen'] else 'does not take'} it: score {added['gain']:+.4f},"
            f" price {money(price)} per 1,000 queries, worth it {worth}."
        )
    if (promotion := steps.get("promotion")) is not None:
        lines.append(f"The router with it, version {promotion['version']}, {promotion['verdict']}.")
    if (bought := steps.get("bought")) is not None:
        lines.append(f"It bought: {bought['line']}.")
        if alone := bought.get("alone"):
            lines.append(f"On the home's own set alone: {alone['line']}.")
        if "spent_usd" in bought:
            lines.append(
                f"It took {bought['spent_s'] / 60:.0f} minutes and {money(bought['spent_usd'])} in all, of"
                f" which {money(bought['asked_usd'])} for answers."
            )
    return [f"{story.gap}: {lines[0]}", *lines[1:]] if lines else []


def _interval(found: Mapping[str, float]) -> Cell:
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return Cell(f"{value:.1f} [{low:.1f}, {high:.1f}]", found["value"])
