"""MLflow's trace store as a destination of spans; does without a server what MLflow's does with OTLP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities.span import Span
from mlflow.tracing.client import TracingClient
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind

from warehouse.mlflow_runs import EXPERIMENT, client_of, find_experiment
from warehouse.traffic.traces import CALLER_TAG, KEY_TAG, REQUEST_TAG, WORDS_TAG

_IDS = RandomIdGenerator()
_TAG = "mlflow.traceTag."
_ASKED, _SAID = "gen_ai.input.messages", "gen_ai.output.messages"
_COSTS = {
    "input_cost": "leeroo.input_cost_usd",
    "output_cost": "leeroo.output_cost_usd",
    "total_cost": "leeroo.cost_usd",
}
_OUTPUTS = {
    "expert": "leeroo.expert",
    "finish_reason": "leeroo.finish_reason",
    "cost_usd": "leeroo.cost_usd",
    "error": "error.type",
}


class MlflowSpans(SpanExporter):
    """Writes spans to a tracking store, SQLite or a server, in the home's experiment."""

    def __init__(self, tracking_uri: str) -> None:
        """Take a store that :func:`warehouse.mlflow_store.open_store` has opened."""
        self._experiment = find_experiment(client_of(tracking_uri), tracking_uri, EXPERIMENT)
        self._client = TracingClient(tracking_uri)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans, all or none."""
        encoded = encode_spans(as_mlflow_has_them(spans))
        found = [
            Span.from_otel_proto(span, resource=of_resource.resource)
            for of_resource in encoded.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        self._client.log_spans(self._experiment, found)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """There is nothing to close."""


def as_mlflow_has_them(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """Return spans, parents before their children, with the attributes that MLflow names differently.

    Without our cost MLflow would estimate one from a public list of prices, if that has the model's name.
    The spans of a request's caller are usually stored elsewhere, and MLflow counts a trace without a root
    span as unfinished, so the request becomes the root. Each request gets a trace of its own: a caller may
    make many requests in one trace, and another key may use the same trace, but texts are forgotten by
    request and key.
    """
    found, traces = list[ReadableSpan](), dict[int, int]()  # span -> trace
    for span in spans:
        if span.kind is SpanKind.SERVER:
            trace_id = span.context.trace_id if span.parent is None else _IDS.generate_trace_id()
        else:
            assert span.parent is not None
            trace_id = traces[span.parent.span_id]
        traces[span.context.span_id] = trace_id
        found.append(_as_mlflow_has_it(span, trace_id))
    return found


def _as_mlflow_has_it(span: ReadableSpan, trace_id: int) -> ReadableSpan:
    told = dict(span.attributes or {})
    is_request = span.kind is SpanKind.SERVER
    if is_request:
        more = _of_request(told)
        if span.parent is not None:
            more[f"{_TAG}{CALLER_TAG}"] = f"{span.parent.trace_id:032x}"
    elif span.kind is SpanKind.CLIENT:
        cost = {theirs: told.get(ours, 0.0) for theirs, ours in _COSTS.items()}
        model = told["leeroo.expert"]
        more = {"mlflow.spanType": "CHAT_MODEL", "mlflow.llm.cost": cost, "mlflow.llm.model": model}
    else:
        more = {"mlflow.spanType": "TASK"}
    return ReadableSpan(
        name=span.name,
        context=_within(span.context, trace_id),
        parent=None if is_request or span.parent is None else _within(span.parent, trace_id),
        resource=span.resource,
        attributes=told | more,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _within(context: SpanContext, trace_id: int) -> SpanContext:
    return SpanContext(trace_id, context.span_id, context.is_remote, context.trace_flags)


def _of_request(told: dict[str, Any]) -> dict[str, Any]:
    """Return what MLflow lists of a request: its words where they may be kept, else names and the cost."""
    tags = (REQUEST_TAG, KEY_TAG)
    more: dict[str, Any] = {f"{_TAG}{tag}": told[tag] for tag in tags if tag in told}
    inputs: dict[str, Any] = {"model": told.get("gen_ai.request.model", "")}
    outputs = {name: told[ours] for name, ours in _OUTPUTS.items() if ours in told}
    if _ASKED in told:
        more[f"{_TAG}{WORDS_TAG}"] = "true"
        inputs["messages"] = [_plain(message) for message in json.loads(told.pop(_ASKED))]
    if _SAID in told:
        outputs["choices"] = [{"message": _plain(message)} for message in json.loads(told.pop(_SAID))]
    return more | {"mlflow.spanType": "WORKFLOW", "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}


def _plain(message: Mapping[str, Any]) -> dict[str, str]:
    return {"role": message["role"], "content": "".join(part["content"] for part in message["parts"])}
