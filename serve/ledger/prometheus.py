"""Figures of the endpoint, for Prometheus to scrape."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serve.ledger.messages import Settlement

__all__ = ["CONTENT_TYPE", "Metrics"]

LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Answers, failures, tokens and money by expert."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = self._counter("leeroo_answers", "answers given")
        self._failures = self._counter("leeroo_expert_failures", "attempts that failed", "status")
        self._tokens = self._counter("leeroo_tokens", "tokens used", "kind")
        self._cost = self._counter("leeroo_cost_usd", "cost of the answers in USD")
        self._latency = Histogram(
            "leeroo_latency_seconds",
            "time from request to last token",
            ["expert"],
            buckets=LATENCY_BUCKETS_S,
            registry=self._registry,
        )

    def count(self, settlement: Settlement) -> None:
        """Add what a request came to."""
        for expert, status in settlement.failures:
            self._failures.labels(expert, str(status)).inc()
        if (answer := settlement.answer) is None:
            return
        self._answers.labels(answer.expert).inc()
        self._cost.labels(answer.expert).inc(settlement.cost_usd)
        self._latency.labels(answer.expert).observe(answer.latency_s)
        for kind in ("prompt", "completion"):
            self._tokens.labels(answer.expert, kind).inc(answer.usage.get(f"{kind}_tokens") or 0)

    def render(self) -> bytes:
        """Return the figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, ["expert", *labels], registry=self._registry)
