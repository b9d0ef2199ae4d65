"""Which requests are traced: a share of them, and those whose callers trace theirs."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serve.tracing.messages import Sampled


class Sampling:
    """Decides at the beginning of a request. A caller's decision counts; an invalid header is ignored."""

    def __init__(self, share: float) -> None:
        """Trace ``share`` of the requests whose callers do not decide."""
        self._sampler = ParentBased(TraceIdRatioBased(share))
        self._propagator = TraceContextTextMapPropagator()
        self._ids = RandomIdGenerator()

    def decide(self, traceparent: str | None) -> Sampled | None:
        """Return the trace of a request; None if it is not traced.

        Args:
            traceparent: the header of W3C Trace Context, if present.
        """
        context = Context()
        if traceparent is not None:
            context = self._propagator.extract({"traceparent": traceparent}, context)
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
        decision = self._sampler.should_sample(context, trace_id, "request").decision
        if decision is not Decision.RECORD_AND_SAMPLE:
            return None
        return Sampled(trace_id, parent.span_id if parent.is_valid else None)
