"""What experts can do, domain by domain: accuracy with its interval, cost, and what nobody can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

#: One row per expert and domain, over the questions registered as `asked`.
BY_DOMAIN = """
select o.expert, o.domain,
    count(o.score) as questions, avg(o.score) as accuracy,
    avg(case when len(q.choices) > 0 then 1 / len(q.choices) else 0 end) as chance,
    sum(o.prompt_tokens)::bigint as prompt_tokens, sum(o.completion_tokens)::bigint as completion_tokens,
    sum(o.cost_usd) as cost_usd, count(*) - count(o.score) as unscored
from outcomes o join questions q using (question_id) join asked using (question_id)
where list_contains(?, o.expert)
group by all order by o.domain, o.expert
"""


@dataclass(frozen=True)
class DomainResult:
    """One expert on one domain of a round's questions."""

    expert: str
    domain: str
    questions: int
    accuracy: float
    low: float  # 95% interval of the accuracy
    high: float
    chance: float  # what blind guessing scores
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unscored: int

    @property
    def knows(self) -> bool:
        """Better than guessing, beyond what chance explains."""
        return self.low > self.chance


@dataclass(frozen=True)
class DomainGap:
    """A domain where no expert is better than guessing."""

    domain: str
    best_expert: str
    accuracy: float
    chance: float
    questions: int


def measure_domains(
    connection: duckdb.DuckDBPyConnection, question_ids: Sequence[str], experts: Sequence[str]
) -> list[DomainResult]:
    """Read each expert's accuracy, tokens and cost per domain on these questions from the warehouse."""
    connection.register("asked", pa.table({"question_id": pa.array(question_ids, pa.string())}))
    results = []
    for row in connection.sql(BY_DOMAIN, params=[list(experts)]).fetchall():
        expert, domain, n, accuracy, chance, tokens_in, tokens_out, cost, unscored = row
        if not n:
            continue
        low, high = accuracy_interval(accuracy, n)
        results.append(
            DomainResult(
                expert, domain, n, accuracy, low, high, chance,
                tokens_in or 0, tokens_out or 0, cost or 0.0, unscored,
            )
        )  # fmt: skip
    return results


def accuracy_interval(mean: float, n: int) -> tuple[float, float]:
    """95% interval of a mean of n scores in [0, 1]; holds for few questions and where all or none are right.

    Source: Agresti and Coull, "Approximate is better than exact" (1998). Partial credit varies less than the
    right-or-wrong it assumes, so the interval is wide enough for it too.
    """
    z = 1.96
    centre = (mean * n + z**2 / 2) / (n + z**2)
    margin = z * math.sqrt(centre * (1 - centre) / (n + z**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def find_domain_gaps(results: Sequence[DomainResult]) -> list[DomainGap]:
    """Name the domains in which no expert does better than guessing."""
    gaps = []
    for domain in dict.fromkeys(result.domain for result in results):
        of_domain = [result for result in results if result.domain == domain]
        if not any(result.knows for result in of_domain):
            best = max(of_domain, key=lambda result: result.accuracy - result.chance)
            gaps.append(DomainGap(domain, best.expert, best.accuracy, best.chance, best.questions))
    return gaps
