"""How long a decision takes, from text to expert."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE = 64  # texts


@dataclass(frozen=True)
class Latency:
    """The latency of single decisions, in seconds, and the throughput of many at once, per second."""

    p50_s: float
    p95_s: float
    p99_s: float
    per_s: float


def measure_latency(
    decide: Callable[[Sequence[str]], object], texts: Sequence[str], *, sample_size: int = SAMPLE
) -> Latency:
    """Time decisions on some of the texts, one by one, then all of them at once.

    Args:
        decide: decides on texts, embedding them afresh.
        texts: at least one.
        sample_size: how many of them at most.
    """
    sample = list(texts[:: max(len(texts) // sample_size, 1)][:sample_size])
    decide(sample[:1])  # what is loaded at the first call is not counted
    seconds = []
    for text in sample:
        began = time.perf_counter()
        decide([text])
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    decide(sample)
    together_s = time.perf_counter() - began
    p50_s, p95_s, p99_s = np.percentile(seconds, [50, 95, 99])
    return Latency(float(p50_s), float(p95_s), float(p99_s), len(sample) / together_s)
