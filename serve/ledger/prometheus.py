"""Figures of the endpoint, for Prometheus to scrape."""

from __future__ import annotations

import logging
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from serve.ledger.messages import Explored, Feedback, Settled, Settlement

logger = logging.getLogger("ray.serve")

LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_MOST = 1e15  # an amount beyond this is no measurement


class Metrics:
    """Answers, failures, tokens and money by expert, and what other collectors have.

    Args:
        others: asked whenever the figures are.
    """

    def __init__(self, *others: Collector) -> None:
        self._registry = CollectorRegistry()
        for other in others:
            self._registry.register(other)
        self._answers = self._counter("leeroo_answers", "answers given")
        self._failures = self._counter("leeroo_expert_failures", "attempts that failed", "status")
        self._judged = self._counter("leeroo_answers_judged", "answers checked for their form", "form")
        self._unusable = self._counter(
            "leeroo_unusable_answers", "answers that could not be used", "form", "reason"
        )
        self._tokens = self._counter("leeroo_tokens", "tokens used", "kind")
        self._cost = self._counter("leeroo_cost_usd", "cost of the answers in USD")
        self._uncovered = self._counter(
            "leeroo_uncovered_cost_usd",
            "USD that upstreams claim or may bill beyond what a key was charged; the operator pays it",
        )
        self._explored = self._counter(
            "leeroo_explored", "answers of experts drawn at random instead of the best one"
        )
        self._exploring = self._counter(
            "leeroo_exploring_cost_usd", "extra USD that exploring cost over the best expert's forecast"
        )
        self._expected = self._counter(
            "leeroo_exploring_expected_usd",
            "extra USD that exploring was forecast to cost",
        )
        self._recorded = Counter("leeroo_recorded", "rows of traffic recorded", registry=self._registry)
        self._unrecorded = Counter(
            "leeroo_unrecorded", "rows of traffic dropped for lack of room", registry=self._registry
        )
        self._feedback = Counter(
            "leeroo_feedback", "feedback received", ["kind", "source"], registry=self._registry
        )
        self._latency = Histogram(
            "leeroo_latency_seconds",
            "time from request to last token",
            ["expert"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )

    def count(self, settlement: Settlement, settled: Settled) -> None:
        """Count a request. What cannot be counted is left out: the books are written by now."""
        try:
            self._count(settlement, settled)
        except Exception:
            logger.exception("a settlement cannot be counted")

    def _count(self, settlement: Settlement, settled: Settled) -> None:
        answer = settlement.answer
        for expert, status in settlement.failures:
            self._failures.labels(expert, str(status)).inc()
        for verdict in settlement.verdicts:
            self._judged.labels(verdict.expert, verdict.form).inc()
            if verdict.reason is not None:
                self._unusable.labels(verdict.expert, verdict.form, verdict.reason).inc()
        if settled.disputed_usd:
            last = answer.expert if answer else next((name for name, _ in settlement.failures[::-1]), "")
            self._uncovered.labels(last).inc(_amount(settled.disputed_usd))
        if answer is None:
            return
        cost_usd = settlement.cost_usd if settled.charged_usd is None else settled.charged_usd
        self._answers.labels(answer.expert).inc()
        self._cost.labels(answer.expert).inc(_amount(cost_usd))
        self._latency.labels(answer.expert).observe(_amount(answer.latency_s))
        for kind in ("prompt", "completion"):
            self._tokens.labels(answer.expert, kind).inc(_amount(answer.usage.get(f"{kind}_tokens")))

    def count_explored(self, explored: Explored, beyond_usd: float | None) -> None:
        """Add what exploring came to; ``beyond_usd`` is None where it was counted before."""
        if beyond_usd is None or explored.expert is None:
            return
        self._explored.labels(explored.expert).inc()
        self._exploring.labels(explored.expert).inc(_amount(beyond_usd))
        self._expected.labels(explored.expert).inc(_amount(explored.expected_usd))

    def count_records(self, kept: int, lost: int) -> None:
        """Add rows of the traffic."""
        self._recorded.inc(kept)
        self._unrecorded.inc(lost)

    def count_feedback(self, feedback: Feedback) -> None:
        """Add feedback that was kept."""
        self._feedback.labels(feedback.kind, feedback.source).inc()

    def render(self) -> bytes:
        """Return the figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, ["expert", *labels], registry=self._registry)


def _amount(told: Any) -> float:
    """Return a number that a counter takes: 0 for what is none, and nothing below 0."""
    if isinstance(told, bool) or not isinstance(told, (int, float)) or told != told:
        return 0.0
    return float(min(max(told, 0), _MOST))
