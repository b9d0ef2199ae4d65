"""The deployment that makes spans of the ingresses' notes, and exports them.

It is a separate process, so that encoding, MLflow's store, and slow, dead or faulty receivers do not delay
requests.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from serve.config import ServeConfig
from serve.config.home_mark import check_home
from serve.tracing.messages import NotedTrace
from serve.tracing.opening import open_destination, take_variables
from serve.tracing.places import MLFLOW, trace_destinations
from serve.tracing.spans import redacted, spans_of
from serve.transport.own_port import keep_port_on_this_machine
from warehouse.traffic.redaction import make_redact
from warehouse.traffic.traces import expire_traces

logger = logging.getLogger("ray.serve")

_NICENESS = 10  # requests go before
_SERVICE = "leeroo"
_KEEP_UP_EVERY_S = 3600.0


class Traces:
    """Takes traces from ingresses. A trace that cannot be made or exported is counted and dropped."""

    def __init__(self, config: ServeConfig) -> None:
        keep_port_on_this_machine()
        check_home(config.home, config.home_mark)
        os.umask(0o077)
        os.nice(_NICENESS)
        take_variables()
        os.environ.setdefault("OTEL_SERVICE_NAME", _SERVICE)
        self._resource = Resource.create()
        self._redact = make_redact() if config.redact and config.record == "texts" else None
        self._destinations = [
            open_destination(name, config.tracking_uri) for name in trace_destinations(config)
        ]
        self._config = config
        self._keeping: asyncio.Task[None] | None = None
        self._lost_spans = 0  # on the way here, and those that could not be made
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(self))

    async def write(self, traces: Sequence[NotedTrace], lost_spans: int) -> None:
        """Take traces; ``lost_spans`` is the number of spans that were lost on the way."""
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep_up())
        self._lost_spans += lost_spans
        for trace in traces:
            try:
                spans = spans_of(
                    trace if self._redact is None else redacted(trace, self._redact), self._resource
                )
            except Exception as error:  # its message may hold a text
                logger.error("a trace cannot be made (%s)", type(error).__name__)
                self._lost_spans += len(trace.spans)
                continue
            for destination in self._destinations:
                destination.offer(spans)

    async def flush(self, timeout_s: float) -> bool:
        """Export everything that waits, within the time limit; tell whether nothing is left."""
        flushed = (asyncio.to_thread(one.flush, timeout_s) for one in self._destinations)
        return all(await asyncio.gather(*flushed))

    async def figures(self) -> bytes:
        """Return the counts of exported and dropped spans in Prometheus's text format."""
        return generate_latest(self._registry)

    async def _keep_up(self) -> None:
        """Remove traces with words whose time is over, as texts are removed."""
        config = self._config
        while MLFLOW in trace_destinations(config):
            before = datetime.now(UTC) - timedelta(days=max(1, config.keep_texts_days))
            try:
                await asyncio.to_thread(expire_traces, str(config.tracking_uri), before)
            except Exception as error:
                logger.warning("old traces cannot be removed now (%s)", type(error).__name__)
            await asyncio.sleep(_KEEP_UP_EVERY_S)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how many spans were exported and dropped, by destination; ``ingress`` is the way here."""
        counts = {one.name: (one.exported, one.dropped) for one in self._destinations}
        return counts | {"ingress": (0, self._lost_spans)}


class _Figures(Collector):
    """What became of the spans, as Prometheus reads it."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def collect(self) -> list[CounterMetricFamily]:
        """Return the counters as they stand."""
        exported = CounterMetricFamily(
            "leeroo_trace_spans", "spans brought to their destination", labels=["to"]
        )
        dropped = CounterMetricFamily(
            "leeroo_trace_spans_dropped", "spans that there was no room for, or nobody took", labels=["to"]
        )
        for name, (brought, lost) in self._traces.counts().items():
            exported.add_metric([name], brought)
            dropped.add_metric([name], lost)
        return [exported, dropped]
