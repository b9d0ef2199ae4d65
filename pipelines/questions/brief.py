"""What a round's questions should be about: where outcomes are open, experts differ, or all fall short."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.questions.generator import Generator
from pipelines.questions.make import Cell

if TYPE_CHECKING:
    import duckdb

PRIOR_ANSWERS = 3.0  # questions' worth of the domain's success held of a cell before its first answer
FLOOR = 0.1  # a settled cell keeps this share of an open one's weight
GAP_WEIGHT = 2.0  # questions in domains with a gap, against the same elsewhere
TRAFFIC_PULL = 0.5  # share of the questions that goes where real traffic is, weak or unknown
LEAST_NEED = 0.25  # what a domain of traffic counts by where nothing is lacking

BY_CELL = """
select o.domain || '/' || coalesce(o.subject, '') as name, coalesce(o.difficulty, 0) as level, o.expert,
    count(o.score) as answers, avg(o.score) as score,
    avg(case when len(q.choices) > 0 then 1 / len(q.choices) else 0 end) as chance
from outcomes o join questions q using (question_id) join learned using (question_id)
where o.score is not null and list_contains(?, o.expert)
group by all
"""


@dataclass(frozen=True)
class CellResult:
    """What one expert reaches at one level of one kind of question."""

    cell: Cell  # (domain/subject, level)
    expert: str
    answers: int
    reached: float  # chance taken out, in [0, 1]


@dataclass(frozen=True)
class GapBrief:
    """A gap in words and by example: what a maker of questions is shown."""

    name: str
    domains: tuple[str, ...]
    text: str
    example_ids: tuple[str, ...]


@dataclass(frozen=True)
class TrafficShare:
    """A domain's part of what people really ask, and how much is lacking there, in [0, 1]."""

    domain: str
    share: float
    need: float


@dataclass(frozen=True)
class Brief:
    """What is known before a round's questions are made; empty in the first round."""

    results: tuple[CellResult, ...] = ()
    gaps: tuple[GapBrief, ...] = ()
    traffic: tuple[TrafficShare, ...] = ()

    @property
    def gap_domains(self) -> frozenset[str]:
        """Domains in which some gap lies."""
        return frozenset(domain for gap in self.gaps for domain in gap.domains)


def read_cells(
    connection: duckdb.DuckDBPyConnection, question_ids: Sequence[str], experts: Sequence[str]
) -> tuple[CellResult, ...]:
    """Read what the experts reach, by kind and level of question, on these questions."""
    import pyarrow as pa

    connection.register("learned", pa.table({"question_id": pa.array(question_ids, pa.string())}))
    rows = connection.sql(BY_CELL, params=[list(experts)]).fetchall()
    return tuple(
        CellResult((name, level), expert, answers, max(0.0, (score - chance) / (1 - chance)))
        for name, level, expert, answers, score, chance in sorted(rows)
    )


def weigh_cells(cells: Sequence[Cell], brief: Brief) -> NDArray[np.float64]:
    """Share of the next questions that each cell should get [cells]; they sum to 1.

    With p what an expert reaches in a cell (chance taken out), p (1 - p) is high where the outcome is open
    and 0 both for what is known and for what is guessed; the spread of p over the experts is what routing can
    use. Their sum is divided by the square root of the answers there are, and doubled in domains with a gap.
    A cell with few answers leans on its domain's figures. Levels that nobody reaches get little, so questions
    move to where the experts begin to fail.

    Where traffic is recorded, ``TRAFFIC_PULL`` of the questions go to its domains, by their share of the
    requests times what is lacking there; within a domain by the weights above.
    """
    shares = _weigh_by_answers(cells, brief)
    domains = np.array([name.split("/")[0] for name, _ in cells])
    wanted = {part.domain: part.share * (LEAST_NEED + part.need) for part in brief.traffic}
    total = sum(wanted.get(domain, 0.0) for domain in set(domains.tolist()))
    if not total:
        return shares
    pull = TRAFFIC_PULL * sum(part.share for part in brief.traffic if part.domain in set(domains.tolist()))
    aimed = np.zeros(len(cells))
    for domain in set(domains.tolist()):
        here = domains == domain
        aimed[here] = wanted.get(domain, 0.0) / total * shares[here] / shares[here].sum()
    mixed: NDArray[np.float64] = (1 - pull) * shares + pull * aimed
    return mixed


def _weigh_by_answers(cells: Sequence[Cell], brief: Brief) -> NDArray[np.float64]:
    experts = sorted({result.expert for result in brief.results})
    if not experts:
        return np.full(len(cells), 1 / len(cells))
    table = {(result.cell, result.expert): result for result in brief.results}
    by_domain = _domain_means(brief.results)
    weights = np.empty(len(cells))
    for i, (name, level) in enumerate(cells):
        domain = name.split("/")[0]
        answers, reached = 0, []
        for expert in experts:
            prior = by_domain.get((domain, expert), 0.5)
            found = table.get(((name, level), expert))
            count, value = (found.answers, found.reached) if found else (0, 0.0)
            reached.append((value * count + prior * PRIOR_ANSWERS) / (count + PRIOR_ANSWERS))
            answers = max(answers, count)
        p = np.array(reached)
        openness = 4 * float((p * (1 - p)).mean()) + float(np.ptp(p))
        weights[i] = max(openness, FLOOR) / np.sqrt(answers + PRIOR_ANSWERS)
        if domain in brief.gap_domains:
            weights[i] *= GAP_WEIGHT
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def allot(weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the weights that sum to ``count`` (largest remainder)."""
    exact = weights * count
    whole = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: count - int(whole.sum())]] += 1
    return whole


def cells_of(generators: Mapping[str, Sequence[Generator]]) -> list[Cell]:
    """Every level of every generator, in order."""
    return [(g.name, level) for group in generators.values() for g in group for level in range(g.levels)]


def weigh_domains(domains: Collection[str], brief: Brief) -> dict[str, float]:
    """The same for data sets, which have domains and no levels: share of the questions by domain."""
    merged: dict[tuple[str, str], list[CellResult]] = {}
    for result in brief.results:
        merged.setdefault((result.cell[0].split("/")[0], result.expert), []).append(result)
    results = tuple(
        CellResult(
            (domain, 0), expert, sum(part.answers for part in parts),
            sum(part.reached * part.answers for part in parts) / sum(part.answers for part in parts),
        )
        for (domain, expert), parts in merged.items()
    )  # fmt: skip
    names = sorted(domains)
    shares = weigh_cells([(name, 0) for name in names], Brief(results, brief.gaps, brief.traffic))
    return dict(zip(names, shares.tolist(), strict=True))


def _domain_means(results: Sequence[CellResult]) -> dict[tuple[str, str], float]:
    total: dict[tuple[str, str], list[float]] = {}
    for result in results:
        sums = total.setdefault((result.cell[0].split("/")[0], result.expert), [0.0, 0.0])
        sums[0] += result.reached * result.answers
        sums[1] += result.answers
    return {key: value / count for key, (value, count) in total.items() if count}
