"""The state of each expert as this ingress sees it, for Prometheus to scrape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from serve.wire.overview import ExpertState

_STATES: tuple[ExpertState, ...] = get_args(ExpertState)


def render_gauges(states: Mapping[str, ExpertState], rests_for_s: Mapping[str, float]) -> bytes:
    """Return gauges in Prometheus's text format.

    Args:
        states: by expert.
        rests_for_s: by expert, the seconds for which it is still left alone after failures.
    """
    registry = CollectorRegistry()
    state = Gauge(
        "leeroo_expert_state",
        "1 for the state that this ingress sees an expert in, 0 for the others",
        ["expert", "state"],
        registry=registry,
    )
    rests = Gauge(
        "leeroo_expert_rests_seconds",
        "seconds for which an expert is still left alone by this ingress after failures",
        ["expert"],
        registry=registry,
    )
    for name, found in states.items():
        for one in _STATES:
            state.labels(name, one).set(one == found)
        rests.labels(name).set(rests_for_s[name])
    return generate_latest(registry)
