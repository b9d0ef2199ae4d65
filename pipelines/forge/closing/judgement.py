"""Questions that can show what a specialist brings: of its gap and of all else, as the traffic has them.

A home's frozen set is made for whole rounds. Ten of its questions may lie in a gap, too few to see any gain.
These are more of the same: on the evaluation side of the split, stored before any training question is made,
so that the check for leaks knows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.forge.gap import TargetGap
from pipelines.learning.evidence import read_questions
from pipelines.questions.brief import allot, cells_of
from pipelines.questions.generator import list_generators
from pipelines.questions.make import make_cells, select_generators
from pipelines.questions.sources.base import concat_unique, is_frozen
from pipelines.selfplay.round_record import FROZEN, RoundFolder, Step
from warehouse import NotReadyError
from warehouse.home import Home

JUDGEMENT_SEED = 9_000_011  # another draw than any round's or test's


def judgement_round(gap: TargetGap) -> str:
    """The round under which a gap's judgement questions and the pool's answers to them are stored."""
    return f"judge-{gap.slug}"


@dataclass(frozen=True)
class Mix:
    """Which part each kind of question (``domain/subject``) has, and where that is known from."""

    shares: Mapping[str, float]
    told_by: str

    def share_of(self, gap: TargetGap) -> float:
        """The gap's part."""
        return sum(self.shares.get(name, 0.0) for name in {name for name, _ in gap.cells})


def read_mix_of_kinds(home: Home, by_domain: Mapping[str, float]) -> Mix:
    """The parts that kinds have in the frozen set, or in the traffic where there is any.

    Args:
        home: with a frozen set.
        by_domain: parts of the domains in the traffic; empty without traffic.

    Raises:
        NotReadyError: the home has no frozen set.
    """
    record = RoundFolder(home.rounds).record(FROZEN)
    if "questions" not in record:
        raise NotReadyError(
            "there is no frozen set", where=str(home.path), fix="play a round: `leeroo selfplay`"
        )
    rows = read_questions(home.warehouse(), record["questions"]["ids"], keeper=home.rounds)
    kinds = Counter(
        f"{row['domain']}/{row['subject']}" for row in rows.select(["domain", "subject"]).to_pylist()
    )
    total = sum(kinds.values())
    if not by_domain:
        return Mix({name: count / total for name, count in kinds.items()}, "the frozen set")
    domains: Counter[str] = Counter()
    for name, count in kinds.items():
        domains[name.split("/")[0]] += count
    known = {domain: share for domain, share in by_domain.items() if domain in domains}
    whole = sum(known.values()) or 1.0
    shares = {
        name: known.get(domain := name.split("/")[0], 0.0) / whole * count / domains[domain]
        for name, count in kinds.items()
    }
    return Mix(shares, "the traffic")


def make_judgement(home: Home, gap: TargetGap, mix: Mix, count: int) -> pa.Table:
    """Make up to ``count`` QUESTIONS rows in the parts of ``mix``, none of which the home has.

    Where a kind has too few different questions, the others outside the gap make up for it. The gap's part
    stays what it is: with fewer others there are fewer of it too.
    """
    own = {name for name, _ in gap.cells}
    known = {generator.name for generator in list_generators()}
    others = {name: part for name, part in mix.shares.items() if name in known - own and part > 0}
    share = mix.share_of(gap)
    taken = set(home.warehouse().scan("questions", ["question_id"])["question_id"].to_pylist())
    if not others or not 0 < share < 1 or not count:
        return make_cells(dict.fromkeys(gap.cells, 0))
    counts = _spread(others, round(count * (1 - share)))
    rest = make_cells(counts, JUDGEMENT_SEED, judgement_round(gap), exclude=taken, accept=is_frozen)
    mine = round(rest.num_rows * share / (1 - share))
    even = allot(np.full(len(gap.cells), 1 / len(gap.cells)), mine)
    gaps = make_cells(
        dict(zip(gap.cells, map(int, even), strict=True)), JUDGEMENT_SEED, judgement_round(gap),
        exclude=taken, accept=is_frozen,
    )  # fmt: skip
    return concat_unique([gaps, rest])


def reserve_judgement(home: Home, gap: TargetGap, by_domain: Mapping[str, float], count: int) -> Step:
    """Store the judgement questions of a gap; as JSON holds it."""
    mix = read_mix_of_kinds(home, by_domain)
    made = make_judgement(home, gap, mix, count)
    ids: list[str] = made["question_id"].to_pylist()
    if ids:
        home.warehouse().append("questions", made, round=judgement_round(gap))
    kinds = {name for name, _ in gap.cells}
    rows = made.select(["domain", "subject"]).to_pylist()
    return {
        "ids": ids,
        "of_gap": sum(f"{row['domain']}/{row['subject']}" in kinds for row in rows),
        "domains": dict(Counter(row["domain"] for row in rows)),
        "share": mix.share_of(gap),
        "told_by": mix.told_by,
    }


def judgement_questions(home: Home, ids: Sequence[str]) -> pa.Table:
    """QUESTIONS rows of these ids."""
    table = home.warehouse().scan("questions")
    return table.filter(pc.is_in(table["question_id"], value_set=pa.array(ids, pa.string())))


def _spread(shares: Mapping[str, float], count: int) -> dict[tuple[str, int], int]:
    """So many questions over kinds by their parts, and evenly over each one's levels."""
    names = sorted(shares)
    parts = np.array([shares[name] for name in names])
    counts: dict[tuple[str, int], int] = {}
    for name, own in zip(names, allot(parts / parts.sum(), count), strict=True):
        cells = cells_of(select_generators([name]))
        even = allot(np.full(len(cells), 1 / len(cells)), int(own))
        counts |= dict(zip(cells, map(int, even), strict=True))
    return counts
