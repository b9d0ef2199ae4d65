"""An OTLP receiver that is not ours: the `/v1/traces` of an MLflow server, over HTTP."""

import pytest
from fake_experts import BUSY, ScriptedExpert
from local_traces import LocalTraces
from test_tracing import NAMES, asked, check_shape, make_gateway, post

from serve.tracing.opening import open_destination
from serve.tracing.places import VARIABLES
from tests.web_server import serve_app
from warehouse.mlflow_places import sqlite_uri
from warehouse.mlflow_store import open_store


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address at which MLflow's own handler of OTLP listens, and the store that it writes to."""
    from fastapi import FastAPI
    from mlflow.server import BACKEND_STORE_URI_ENV_VAR, handlers
    from mlflow.server.otel_api import otel_router

    uri = sqlite_uri(tmp_path / "server.db")
    open_store(uri)
    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, uri)
    monkeypatch.setattr(handlers, "_tracking_store", None)
    monkeypatch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)  # of this process, and for good
    handlers._get_tracking_store()
    app = FastAPI()
    app.include_router(otel_router)
    with serve_app(app) as url:
        yield url, uri


def test_an_mlflow_server_takes_in_a_request_with_its_parents_and_attributes(
    orchestrator, tmp_path, monkeypatch, server
):
    """A request whose first expert is busy: the trace that the store shows is the one that was sent."""
    import mlflow

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    url, uri = server
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("requests")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-mlflow-experiment-id={experiment}")
    traces = LocalTraces()
    experts = [ScriptedExpert(NAMES[0], BUSY), ScriptedExpert(NAMES[1])]
    assert (
        post(make_gateway(orchestrator, tmp_path, experts, traces), asked(model="leeroo")).status_code == 200
    )
    (sent,) = traces.spans()
    check_shape(sent)
    destination = open_destination(url, None)
    destination.offer(sent)
    assert destination.flush(60)
    assert (destination.exported, destination.dropped) == (len(sent), 0)
    destination.close()

    (trace,) = client.search_traces(locations=[experiment])
    found = {span.span_id: span for span in trace.data.spans}
    assert set(found) == {f"{span.context.span_id:016x}" for span in sent}
    for span in sent:
        shown = found[f"{span.context.span_id:016x}"]
        parent = None if span.parent is None else f"{span.parent.span_id:016x}"
        assert (shown.name, shown.parent_id) == (span.name, parent)
        assert (shown.start_time_ns, shown.end_time_ns) == (span.start_time, span.end_time)
        for name, value in span.attributes.items():
            told = shown.attributes[name]
            assert told == (list(value) if isinstance(value, tuple) else value), name
    assert any(span.name.startswith("fallback") for span in sent)
    root = found[f"{sent[0].context.span_id:016x}"]
    assert root.attributes["leeroo.cost_usd"] > 0
    assert trace.info.token_usage["input_tokens"] > 0
