"""Which recorded requests are asked again, and of whom: where an answer would teach most for its price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experts.catalogue.pricing import CHARACTERS_PER_TOKEN
from orchestrator.traffic.worth_asking import choose_shadows
from pipelines.learning.recorded_requests import RecordedRequests

if TYPE_CHECKING:
    from experts import ExpertSpec

#: Requests that are considered at most, the newest first.
MOST_CONSIDERED = 4_000
#: Of calls of tools neither the tools nor the calls are recorded: whoever is asked by the words alone cannot
#: know what is wanted, and would be found wanting.
UNASKED_FORMS = ("tool_call",)
#: What is written around an answer for a judge, in characters.
_FRAME_CHARACTERS = 800
_WIDEST_GAP = 1e3


@dataclass(frozen=True)
class Sample:
    """What is to be asked: request ids by expert's name, and what all of it is expected to cost.

    Attributes:
        request_ids: each request once, in the order of time; of some only what was served is judged.
        asked: by expert's name, those that it is to answer; the expert that was served is not asked.
        expected_usd: of the answers and the verdicts on them and on what was served.
        verdicts_usd: of that, the verdicts.
    """

    request_ids: tuple[str, ...]
    asked: Mapping[str, tuple[str, ...]]
    expected_usd: float
    verdicts_usd: float


def choose_sample(
    requests: RecordedRequests,
    embedding: NDArray[np.floating],
    seen: NDArray[np.floating],
    specs: Sequence[ExpertSpec],
    judge: ExpertSpec | None,
    *,
    budget_usd: float,
    key_weights: Mapping[str, float],
    most_requests: int,
    multiplier: float,
    verdicts: int = 1,
) -> Sample:
    """Choose pairs of a request and an expert by what an answer would teach for its price.

    What is chosen is expected to fit the budget; that it does is seen to when the experts are asked.

    Args:
        requests: n requests whose texts are there; none that was asked again before.
        embedding: [n, d] theirs.
        seen: [k, d] of the questions that the router was trained on; may be empty.
        specs: who may be asked.
        judge: who grades; None: nobody is paid for it.
        budget_usd: for answers and verdicts.
        key_weights: how much a key's requests count; 1 where nothing is said.
        most_requests: how many requests at most.
        multiplier: success that a dollar has to buy, as the champion has it.
        verdicts: times that the judge is asked about an answer.
    """
    n = len(requests)
    if not n:
        return Sample((), {}, 0.0, 0.0)
    place = [requests.experts.index(s.name) if s.name in requests.experts else -1 for s in specs]
    tokens = requests.figures("prompt_tokens"), requests.figures("completion_tokens")
    success, cost = np.full((n, len(specs)), 0.5), np.empty((n, len(specs)))
    for j, (spec, column) in enumerate(zip(specs, place, strict=True)):
        likely = np.nan_to_num(spec.price.cost_usd(np.nan_to_num(tokens[0]), np.nan_to_num(tokens[1])))
        told = requests.cost_hat[:, column] if column >= 0 else np.full(n, np.nan)
        cost[:, j] = np.where(np.isfinite(told), told, likely)
        if column >= 0:
            own = requests.success_hat[:, column]
            success[:, j] = np.where(np.isfinite(own), own, 0.5)
    served = np.array([_place(specs, name) for name in requests.column("expert")], int)
    verdict_usd = verdicts * price_verdicts(requests, judge)
    weights = np.array([key_weights.get(str(key), 1.0) for key in requests.column("key_id")], float)
    # All of them in the order of their worth; what they cost with their verdicts is counted here.
    pairs = choose_shadows(
        success, cost, embedding, seen, math.inf, weights, multiplier=min(multiplier, _WIDEST_GAP),
        answered=served, judge_usd=float(verdict_usd.mean()), most_requests=most_requests,
    )  # fmt: skip
    asked: dict[str, list[int]] = {spec.name: [] for spec in specs}
    rows: set[int] = set()
    spent = judged = 0.0
    for i, j in pairs:
        is_served = j == served[i]
        if is_served and (i in rows or judge is None or verdicts > 1):
            continue  # it is judged with the others; pairs need another one to compare it with
        further = verdict_usd[i] * (1 if i in rows or is_served or verdicts > 1 else 2)
        usd = float(further + (0.0 if is_served else cost[i, j]))
        if spent + usd > budget_usd:
            continue
        spent += usd
        judged += float(further)
        rows.add(i)
        if not is_served:
            asked[specs[j].name].append(i)
    ids = requests.column("request_id")
    return Sample(
        tuple(str(ids[i]) for i in sorted(rows)),
        {name: tuple(str(ids[i]) for i in sorted(own)) for name, own in asked.items() if own},
        spent,
        judged,
    )


def price_verdicts(requests: RecordedRequests, judge: ExpertSpec | None) -> NDArray[np.float64]:
    """What one verdict on an answer to each request costs at most, in USD: [n]."""
    if judge is None:
        return np.zeros(len(requests))
    text = np.nan_to_num(requests.figures("prompt_tokens")) + np.nan_to_num(
        requests.figures("completion_tokens")
    )
    usd = judge.price.cost_usd(
        text + _FRAME_CHARACTERS / CHARACTERS_PER_TOKEN, np.full(len(text), judge.max_tokens)
    )
    return np.asarray(usd, np.float64)


def _place(specs: Sequence[ExpertSpec], name: object) -> int:
    return next((j for j, spec in enumerate(specs) if spec.name == name), -1)
