"""The report tells what became of each gap, however far it got."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipelines.forge.closing.compare import contest
from pipelines.report.parts import Paragraph, Table
from pipelines.report.specialists import read_stories, tell_specialists
from pipelines.selfplay.round_record import RoundRecord

GAP = asdict(contest("the gap", np.arange(100) < 25, np.arange(100) < 70, 0.25))
PLAN = {
    "now": 0.3, "base": "small", "expected": {"low": 0.4, "high": 0.8}, "pays": True, "share": 0.1,
    "reason": "yes: worth it",
}  # fmt: skip
STEPS = {
    "judgement": {"ids": ["a", "b"], "of_gap": 1, "share": 0.125, "told_by": "the traffic", "domains": {}},
    "plan": PLAN,
    "settings": {"base": "small", "questions": 4_000},
    "questions": {"leaks": 3},
    "train": {"steps": 64, "spent_s": 600.0, "stopped": "done", "best_step": 50},
    "test": {"gap": GAP, "levels": [GAP], "elsewhere": GAP, "refused": None, "training_usd": 0.02},
    "add": {"chosen": True, "gain": 0.05, "price_usd": 2e-7, "break_even_usd": 4e-7},
    "promotion": {"promoted": True, "version": "2", "verdict": "beats champion 1"},
    "bought": {"line": "frozen set (80 questions): 70% before, 75% after"},
}
SAID = (
    "12.5% of the traffic", "yes: worth it", "A specialist of small", "3 training questions",
    "64 steps in 10.0 minutes", "goes on to the universe", "takes it", "version 2", "75% after",
)  # fmt: skip


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
def test_a_story_is_told_as_far_as_it_got(tmp_path: Path, count: int) -> None:
    record = RoundRecord(tmp_path / "forge" / "arithmetic" / "record.json")
    for name in list(STEPS)[:count]:
        record.step(name, lambda name=name: STEPS[name])
    section = tell_specialists(read_stories(tmp_path))
    assert section is not None
    told = " ".join(part.text for part in section.parts if isinstance(part, Paragraph))
    assert [part in told for part in SAID] == [i < count for i in range(len(SAID))]
    assert [part.name for part in section.parts if isinstance(part, Table)] == [
        "gaps-worked-on", *(["specialists"] if count > 5 else []),
    ]  # fmt: skip


def test_without_a_forge_there_is_no_section(tmp_path: Path) -> None:
    assert tell_specialists(read_stories(tmp_path)) is None


def test_a_plan_that_was_asked_for_alone_is_told(tmp_path: Path) -> None:
    refused = PLAN | {"pays": False, "reason": "no: worth nothing"}
    RoundRecord(tmp_path / "forge" / "logic" / "plan.json").step("plan", lambda: refused)
    section = tell_specialists(read_stories(tmp_path))
    assert section is not None
    table, said = section.parts
    assert isinstance(table, Table)
    assert isinstance(said, Paragraph)
    assert [cell.text for cell in table.rows[0]][:3] == ["logic", "does not pay", "10.0%"]
    assert "no: worth nothing" in said.text
