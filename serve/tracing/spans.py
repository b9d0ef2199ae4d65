"""Turn notes into OpenTelemetry spans."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from serve.tracing.messages import NotedSpan, NotedTrace, Said

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SCOPE = InstrumentationScope("leeroo")
_IDS = RandomIdGenerator()


def spans_of(trace: NotedTrace, resource: Resource) -> list[ReadableSpan]:
    """Return the spans of a trace, parents before their children, each with a new id."""
    contexts = [_context(trace.sampled.trace_id, _IDS.generate_span_id()) for _ in trace.spans]
    caller_id = trace.sampled.parent_id
    caller = None if caller_id is None else _context(trace.sampled.trace_id, caller_id, is_remote=True)
    return [
        ReadableSpan(
            name=span.name,
            context=contexts[place],
            parent=caller if span.parent is None else contexts[span.parent],
            resource=resource,
            attributes=_attributes(span, trace.said if place == 0 else None),
            kind=_KINDS[span.kind],
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR),
            start_time=span.began_ns,
            end_time=max(span.began_ns, span.ended_ns),
            instrumentation_scope=_SCOPE,
        )
        for place, span in enumerate(trace.spans)
    ]


def redacted(trace: NotedTrace, redact: Callable[[str], str]) -> NotedTrace:
    """Return the trace with its texts redacted."""
    said = trace.said
    if said is None:
        return trace
    messages = tuple((role, redact(text)) for role, text in said.messages)
    answer = None if said.answer is None else redact(said.answer)
    return replace(trace, said=Said(messages, answer, said.finish_reason))


def _context(trace_id: int, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))


def _attributes(span: NotedSpan, said: Said | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in span.attributes.items()
        if not isinstance(value, float) or math.isfinite(value)  # without a limit: nothing to be told
    }
    if span.error is not None:
        told["error.type"] = span.error
    if said is not None:
        told["gen_ai.input.messages"] = json.dumps([_message(*turn) for turn in said.messages])
        if said.answer is not None:
            spoken = _message("assistant", said.answer) | {"finish_reason": said.finish_reason or ""}
            told["gen_ai.output.messages"] = json.dumps([spoken])
    return told


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
