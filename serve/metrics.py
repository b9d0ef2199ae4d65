"""Figures of one ingress replica, for Prometheus to scrape."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Answers, failures, tokens and money by expert."""

    content_type = CONTENT_TYPE_LATEST

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

    def count_answer(self, expert: str, usage: dict[str, Any], cost_usd: float, latency_s: float) -> None:
        """Add an answer."""
        self._answers.labels(expert).inc()
        self._cost.labels(expert).inc(cost_usd)
        self._latency.labels(expert).observe(latency_s)
        for kind in ("prompt", "completion"):
            self._tokens.labels(expert, kind).inc(usage.get(f"{kind}_tokens") or 0)

    def count_failure(self, expert: str, status: int) -> None:
        """Add an attempt that failed."""
        self._failures.labels(expert, str(status)).inc()

    def render(self) -> bytes:
        """Return the figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, ["expert", *labels], registry=self._registry)
