"""What drifts in the traffic: queries, success, bills; per expert, per domain and over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from orchestrator.traffic.drift import (
    Difference,
    Novelty,
    Ratio,
    Shift,
    compare_costs,
    compare_means,
    find_shift,
    measure_novelty,
    reject_by_holm,
)
from orchestrator.traffic.judge_calibration import JudgeCalibration, calibrate_judge
from pipelines.learning.recorded_requests import RecordedRequests, embeddings_of

#: Windows of equal numbers of requests in which forecasts and findings are set side by side.
WINDOWS = 6


@dataclass(frozen=True)
class Thresholds:
    """What is complained of: a whole 95% interval that lies beyond, a significant shift that is larger.

    Attributes:
        novel_share: of requests that are unlike what was trained on.
        success_gap: by which success found may differ from that forecast, up or down.
        cost_ratio: by which a bill may exceed its forecast.
        shift_success: by which an expert's success may have shifted, from one moment on.
        shift_ratio: by which the length or the price of its answers may have.
        alpha: chance of any false alarm among all shifts that are looked for together.
    """

    novel_share: float = 0.25
    success_gap: float = 0.10
    cost_ratio: float = 1.5
    shift_success: float = 0.10
    shift_ratio: float = 1.25
    alpha: float = 0.05


@dataclass(frozen=True)
class Change:
    """An expert whose answers are others from one moment on."""

    expert: str
    measure: str  # success | cost | length
    since: datetime
    before: float
    after: float  # of success: less what was forecast; else USD or tokens, geometric means
    p_value: float
    n: int


@dataclass(frozen=True)
class Group:
    """One expert's answers, one domain's, or those of one window."""

    name: str
    requests: int
    success: Difference | None  # found by users and judges, less what was forecast
    cost: Ratio | None  # billed over forecast


@dataclass(frozen=True)
class Complaint:
    """What is beyond a threshold, and what to do."""

    who: str
    what: str
    fix: str


@dataclass(frozen=True)
class TrafficReport:
    """What the traffic says of the router, by figures with intervals."""

    begins: datetime
    ends: datetime
    requests: int
    scored: int  # by a user or a judge
    novelty: Novelty | None
    experts: tuple[Group, ...]
    domains: tuple[Group, ...]
    windows: tuple[Group, ...]
    changes: tuple[Change, ...]  # significant, whatever their size
    judge: JudgeCalibration
    complaints: tuple[Complaint, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why learning is worth its price: complaints, and more novel queries than chance brings."""
        found = tuple(f"{one.who}: {one.what}" for one in self.complaints)
        if found or self.novelty is None or self.novelty.low <= self.novelty.expected:
            return found
        novelty = self.novelty
        return (f"{novelty.share:.0%} of {novelty.requests:,} requests are unlike what was trained on",)


def watch_traffic(
    requests: RecordedRequests, trained: NDArray[np.floating], thresholds: Thresholds | None = None
) -> TrafficReport:
    """Set what was found beside what was forecast.

    Success is what users say of an answer; where they say nothing, the judge's score by what it is worth in
    theirs.

    Args:
        requests: one or more, in the order of time.
        trained: [t, d] embeddings of what the router in charge was trained on; may be empty.
        thresholds: what to complain of.
    """
    limits = thresholds or Thresholds()
    judge = calibrate_judge(requests.judged, requests.feedback)
    found = np.where(np.isfinite(requests.feedback), requests.feedback, judge.apply(requests.judged))
    told = requests.of_expert(requests.success_hat)
    expected_usd, billed_usd = requests.of_expert(requests.cost_hat), requests.figures("answer_cost_usd")
    times = requests.column("created_at")

    def group(name: str, mask: NDArray[np.bool_]) -> Group:
        return Group(
            name, int(mask.sum()), compare_means(told[mask], found[mask]),
            compare_costs(expected_usd[mask], billed_usd[mask]),
        )  # fmt: skip

    by_expert = np.array(requests.column("expert"), str)
    by_domain = np.array([str(task or form or "-") for task, form in
                          zip(requests.column("task"), requests.column("form"), strict=True)])  # fmt: skip
    novelty = None
    has, embedding = embeddings_of(requests)
    if len(trained) and has.any() and embedding.shape[1] == trained.shape[1]:
        novelty = measure_novelty(embedding, trained)
    n = len(requests)
    window = np.arange(n) * min(WINDOWS, n) // n
    experts = tuple(group(name, by_expert == name) for name in sorted(set(by_expert.tolist())))
    changes = _find_changes(requests, by_expert, found - told, limits)
    report = TrafficReport(
        times[0], times[-1], n, int(np.isfinite(found).sum()), novelty, experts,  # type: ignore[arg-type]
        tuple(group(name, by_domain == name) for name in sorted(set(by_domain.tolist()))),
        tuple(group(f"{times[int(np.argmax(window == w))]:%Y-%m-%d %H:%M}", window == w)
              for w in range(int(window[-1]) + 1)),
        changes, judge, (),
    )  # fmt: skip
    complaints = tuple(_complain(report, limits))
    return replace(report, complaints=complaints)


def _find_changes(
    requests: RecordedRequests,
    by_expert: NDArray[np.str_],
    residual: NDArray[np.float64],
    limits: Thresholds,
) -> tuple[Change, ...]:
    """Shifts of each expert's success, price and length that hold together (Holm) at alpha."""
    expected = requests.of_expert(requests.cost_hat)
    with np.errstate(divide="ignore", invalid="ignore"):
        series = {
            "success": residual,
            # of its forecast, so that longer questions are no change of the expert
            "cost": np.log(requests.figures("answer_cost_usd") / expected),
            "length": np.log1p(requests.figures("completion_tokens")),
        }
    found: list[tuple[str, str, Shift, NDArray[np.int64]]] = []
    for expert in sorted(set(by_expert.tolist())):
        rows = np.flatnonzero(by_expert == expert)
        for measure, values in series.items():
            own = np.where(np.isfinite(values[rows]), values[rows], np.nan)
            if (shift := find_shift(own)) is not None:
                found.append((expert, measure, shift, rows))
    holds = reject_by_holm([shift.p_value for _, _, shift, _ in found], limits.alpha)
    times = requests.column("created_at")
    changes = []
    for (expert, measure, shift, rows), is_real in zip(found, holds, strict=True):
        if is_real:
            levels = np.array([shift.before, shift.after])
            before, after = (levels if measure == "success" else np.exp(levels)).tolist()
            since: datetime = times[int(rows[shift.at])]  # type: ignore[assignment]
            changes.append(Change(expert, measure, since, before, after, shift.p_value, shift.n))
    return tuple(changes)


def _complain(report: TrafficReport, limits: Thresholds) -> list[Complaint]:
    found = []
    if report.novelty is not None and report.novelty.low > limits.novel_share:
        found.append(
            Complaint(
                "queries",
                f"{report.novelty.share:.0%} of {report.novelty.requests:,} requests are unlike what the"
                f" router was trained on; without drift it would be {report.novelty.expected:.0%}",
                "`leeroo learn` asks such requests again and trains on them",
            )
        )
    for kind, groups in (("expert", report.experts), ("domain", report.domains)):
        for group in groups:
            found += _complain_of(f"{kind} {group.name}", group, limits)
    for change in report.changes:
        gap = change.after - change.before
        ratio = max(change.after, change.before) / max(min(change.after, change.before), 1e-12)
        is_large = (
            abs(gap) > limits.shift_success if change.measure == "success" else ratio > limits.shift_ratio
        )
        if is_large:
            found.append(
                Complaint(
                    f"expert {change.expert}",
                    f"its {_NAMES[change.measure]} {_told(change)} at"
                    f" {change.since:%Y-%m-%d %H:%M}: the model behind it may have changed",
                    "give its entry in the catalogue a new `revision:` so that it is asked anew, then"
                    " `leeroo learn`",
                )
            )
    return found


_NAMES = {
    "success": "success, less its forecast,",
    "cost": "price, over its forecast,",
    "length": "answers' length",
}


def _told(change: Change) -> str:
    if change.measure == "success":
        return f"went from {change.before:+.2f} to {change.after:+.2f}"
    if change.measure == "length":
        return f"went from {change.before:.0f} to {change.after:.0f} tokens"
    return f"went from {change.before:.2f} to {change.after:.2f}"


def _complain_of(who: str, group: Group, limits: Thresholds) -> list[Complaint]:
    found = []
    success, cost = group.success, group.cost
    if success is not None and (success.low > limits.success_gap or success.high < -limits.success_gap):
        found.append(
            Complaint(
                who,
                f"success is {success.found:.2f} where {success.forecast:.2f} was forecast"
                f" (difference {success.difference:+.2f}, 95% {success.low:+.2f} to"
                f" {success.high:+.2f}, n {success.n:,})",
                "`leeroo learn` trains on what was found",
            )
        )
    if cost is not None and cost.low > limits.cost_ratio:
        found.append(
            Complaint(
                who,
                f"bills are {cost.ratio:.2f} times what was forecast (95% {cost.low:.2f} to {cost.high:.2f},"
                f" n {cost.n:,})",
                "see its price in the catalogue and its answers' length; `leeroo learn` trains on bills",
            )
        )
    return found
