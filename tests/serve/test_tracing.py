"""Traces: what spans say of a request, whose requests are traced, what is left out, and who is not harmed."""

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from fake_experts import BROKEN, BUSY, SLOW, TOO_LONG, LocalLedger, LocalRouter, ScriptedExpert
from hypothesis import given, settings
from hypothesis import strategies as st
from local_traces import LocalTraces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from test_ensemble import CHEAP, SHAKY, Forecasts, Recorded, habits_of

from experts import Price
from experts.upstream import Usage
from serve.config import ServeConfig
from serve.http.api import create_api
from serve.ledger.ledger import LEDGER_FILE, Ledger
from serve.request.gateway import Gateway
from serve.request.tracing.about_experts import about_usage
from serve.tracing.destination import Destination
from serve.tracing.messages import NotedSpan, NotedTrace, Said, Sampled
from serve.tracing.opening import open_destination
from serve.tracing.places import VARIABLES, trace_destinations
from serve.tracing.sampling import Sampling
from serve.tracing.spans import redacted, spans_of
from warehouse import InputError
from warehouse.traffic.selection import Selection
from warehouse.traffic.traces import expire_traces, forget_traces

SECRET = "xyzzy-7731"
NAMES = ("smollm2-135m", "gemma-3-270m")
FAILURES = {failure.kind.value: failure for failure in (BROKEN, BUSY, SLOW, TOO_LONG)}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def make_gateway(orchestrator, home, experts, traces, keep_text=None, **fields):
    config = ServeConfig(home=Path(home), access="auto", **fields)
    by_name = {expert.spec.name: expert for expert in experts}
    return Gateway(config, LocalRouter(orchestrator), LocalLedger(config), by_name, keep_text, traces)


def post(gateway, body, secret=None, headers=()):
    async def go():
        transport = httpx.ASGITransport(app=create_api(gateway), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            sent = dict(headers) | ({"Authorization": f"Bearer {secret}"} if secret else {})
            reply = await web.post("/v1/chat/completions", json=body, headers=sent)
            await gateway.drain(5)
            return reply

    return asyncio.run(go())


def asked(text=f"What is the capital of {SECRET}?", **fields):
    return {"messages": [{"role": "user", "content": text}], **fields}


def check_shape(spans):
    """See that spans are a tree in time; return its root, and the calls of experts by expert."""
    root, *others = spans
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert root.kind is SpanKind.SERVER
    for span in others:
        assert span.context.trace_id == root.context.trace_id
        parent = by_id[span.parent.span_id]
        assert root.start_time <= parent.start_time <= span.start_time <= span.end_time
        if parent is not root:  # the settlement comes after the answer
            assert span.end_time <= parent.end_time
    for span in spans:
        assert (span.status.status_code is StatusCode.ERROR) == ("error.type" in span.attributes)
    calls = [span for span in spans if span.kind is SpanKind.CLIENT]
    return root, {span.attributes["leeroo.expert"]: span for span in calls}


@settings(max_examples=25, deadline=None)
@given(
    model=st.sampled_from(["leeroo", "leeroo:quality", "leeroo:ensemble", *NAMES, f"model {SECRET}"]),
    scripts=st.tuples(*[st.lists(st.sampled_from(sorted(FAILURES)), max_size=2)] * 2),
    stream=st.booleans(),
    cut_after=st.none() | st.integers(1, 2),
    store=st.sampled_from([None, False]),
    share=st.sampled_from([0.0, 1.0]),
    parent=st.sampled_from([None, PARENT, PARENT[:-1] + "0", f"00-{SECRET}"]),
)
def test_a_trace_says_what_happened(orchestrator, model, scripts, stream, cut_after, store, share, parent):
    experts = [
        ScriptedExpert(name, *map(FAILURES.get, script), cut_after=cut_after)
        for name, script in zip(NAMES, scripts, strict=True)
    ]
    traces = LocalTraces(0.0 if parent == PARENT else 1.0)
    with tempfile.TemporaryDirectory() as home:
        gateway = make_gateway(orchestrator, home, experts, traces, explore_share=share)
        body = asked(model=model, stream=stream) | ({} if store is None else {"store": store})
        reply = post(gateway, body, headers={} if parent is None else {"traceparent": parent})
    if parent == PARENT[:-1] + "0":
        assert traces.traces == []
        return
    (spans,) = traces.spans()
    root, calls = check_shape(spans)
    told = root.attributes
    assert SECRET not in repr([(span.name, dict(span.attributes)) for span in spans])
    if parent == PARENT:
        assert f"{root.context.trace_id:032x}-{root.parent.span_id:016x}" == PARENT[3:-3]
    else:
        assert root.parent is None
    assert set(calls) == {expert.spec.name for expert in experts if expert.bodies}
    names = [span.name.split()[0] for span in spans]
    if model not in ("leeroo", "leeroo:quality", "leeroo:ensemble", *NAMES):
        assert (names, told["error.type"]) == (["chat"], "model_not_found")
        assert "gen_ai.request.model" not in told
        return
    assert names.count("reserve") == names.count("settle") == 1
    assert names.count("decide") == (model not in NAMES)
    assert told["gen_ai.request.model"] == model
    assert told["leeroo.request_id"] in reply.text or reply.status_code != 200 or '"error"' in reply.text
    costs = [span.attributes["leeroo.cost_usd"] for span in calls.values()]
    assert told["leeroo.cost_usd"] == pytest.approx(sum(costs))
    forecasts = [span.attributes.get("leeroo.predicted_success") for span in spans if span.name == "decide"]
    assert (forecasts == [None] * len(forecasts)) == (store is False or model in NAMES)
    for name, script in zip(NAMES, scripts, strict=True):
        if name in calls and script:
            assert calls[name].attributes["error.type"] == script[0]
    # Who is asked after another has failed stands below a fallback that says of whom, and why.
    fallbacks = {span.context.span_id: span for span in spans if span.name.startswith("fallback")}
    for call in list(calls.values())[1:]:
        fallback = fallbacks.pop(call.parent.span_id).attributes
        before = calls[fallback["leeroo.fallback.from"]].attributes
        assert fallback["leeroo.fallback.reason"] == before["error.type"]
        assert before["leeroo.attempt"] == call.attributes["leeroo.attempt"] - 1
    assert not fallbacks
    if "error.type" not in told:
        answered = calls[told["leeroo.expert"]].attributes
        assert answered["gen_ai.usage.input_tokens"] > 0
        assert answered["gen_ai.response.finish_reasons"] == ["stop"]
        assert told["leeroo.cost_usd"] > 0
        assert reply.status_code == 200
    elif reply.status_code != 200:
        assert told["error.type"] == reply.json()["error"]["code"]
    else:
        assert '"error"' in reply.text


def test_an_ensemble_shows_every_opinion(tmp_path):
    names = ("alpha", "beta", "gamma", "delta")
    experts = {name: Recorded(name, np.array(["B"]), np.array([20])) for name in names}
    config, traces = ServeConfig(home=tmp_path, access="open"), LocalTraces()
    router = Forecasts(names, SHAKY, CHEAP, 0.0, habits_of(names))
    gateway = Gateway(config, router, LocalLedger(config), experts, traces=traces)
    options = "Which is a city?\nA. Peru\nB. Lima\nC. Chile\nD. Bern\nAnswer:"
    reply = post(gateway, asked(f"0 {options}", model="leeroo:ensemble", max_tokens=8)).json()["leeroo"]
    (spans,) = traces.spans()
    root, calls = check_shape(spans)
    opinions = [one["expert"] for one in reply["asked"]]
    assert list(calls) == opinions == root.attributes["leeroo.asked"]
    assert len(opinions) >= 2
    assert {call.parent.span_id for call in calls.values()} == {root.context.span_id}
    assert [call.attributes["leeroo.why"] for call in calls.values()][1:] == ["another opinion"] * (
        len(opinions) - 1
    )
    assert root.attributes["leeroo.probability"] == pytest.approx(reply["probability"], abs=1e-4)
    assert calls[opinions[0]].attributes["server.address"] == "127.0.0.1"
    assert calls[opinions[0]].attributes["server.port"] == 9


def test_a_refused_request_has_a_trace_without_calls(orchestrator, tmp_path):
    traces = LocalTraces()
    gateway = make_gateway(orchestrator, tmp_path, map(ScriptedExpert, NAMES), traces)
    key_id, secret = Ledger(tmp_path / LEDGER_FILE).create_key("poor", budget_usd=1e-9)
    assert post(gateway, asked(model="leeroo"), secret).status_code == 429
    (spans,) = traces.spans()
    root, calls = check_shape(spans)
    assert calls == {}
    assert root.attributes["error.type"] == "insufficient_quota"
    assert root.attributes["leeroo.key_id"] == key_id
    assert secret not in repr([dict(span.attributes) for span in spans])
    (reserve,) = [span for span in spans if span.name == "reserve"]
    assert reserve.attributes["leeroo.refused"] == "insufficient_quota"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_told_of(orchestrator, tmp_path, stream):
    class Endless(ScriptedExpert):
        async def answer(self, ask, timeout_s):
            await asyncio.sleep(60)

        async def _rest(self):
            yield self._piece({"content": "one"})
            await asyncio.sleep(60)

    traces = LocalTraces()
    gateway = make_gateway(orchestrator, tmp_path, [Endless(NAMES[0])], traces)

    async def go():
        from serve.wire.protocol import ChatRequest

        caller = await gateway.ledger.identify(None)
        request = ChatRequest(**asked(model=NAMES[0], stream=stream))
        if stream:
            _, pieces = await gateway.stream(request, caller)
            await anext(pieces)
            await pieces.aclose()
        else:
            task = asyncio.ensure_future(gateway.answer(request, caller))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait({task})
        await gateway.drain(5)

    asyncio.run(go())
    (spans,) = traces.spans()
    root, calls = check_shape(spans)
    assert root.attributes["error.type"] == "client_left"
    assert calls[NAMES[0]].attributes["leeroo.cost_usd"] > 0
    assert ("leeroo.abandoned" in calls[NAMES[0]].attributes) == (not stream)


@pytest.mark.parametrize("record", ["none", "features", "texts"])
@pytest.mark.parametrize("store", [None, True, False])
@pytest.mark.parametrize("is_kept", [True, False])
def test_words_are_there_only_where_they_may_be_kept(orchestrator, tmp_path, record, store, is_kept):
    traces = LocalTraces()
    keep_text = (lambda _: None) if is_kept else None
    gateway = make_gateway(
        orchestrator, tmp_path, map(ScriptedExpert, NAMES), traces, keep_text, record=record
    )
    post(gateway, asked(model="leeroo") | ({} if store is None else {"store": store}))
    (spans,) = traces.spans()
    has_words = record == "texts" and store is not False and is_kept
    told = spans[0].attributes
    assert ("gen_ai.input.messages" in told) == ("gen_ai.output.messages" in told) == has_words
    assert (SECRET in repr([dict(span.attributes) for span in spans])) == has_words
    assert SECRET not in repr(traces.traces)  # which a log might hold
    if has_words:
        (message,) = json.loads(told["gen_ai.input.messages"])
        assert (message["role"], message["parts"][0]["type"]) == ("user", "text")
        assert "says hello" in told["gen_ai.output.messages"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"usd_per_call": 0.5},
        {"min_usd_per_call": 7.0},
        {"tiers": [{"above_prompt_tokens": 100, "usd_per_mtok_in": 10, "usd_per_mtok_out": 40}]},
        {"usd_per_mtok_image_out": 90, "usd_per_mtok_cached_in": 0.1, "batch_factor": 0.5},
    ],
)
def test_costs_of_input_and_output_are_those_of_the_price_that_held(fields):
    price = Price.model_validate({"usd_per_mtok_in": 1, "usd_per_mtok_out": 4} | fields)
    usage = Usage(1_000, 500, cached_tokens=200, image_out_tokens=300, reasoning_tokens=100, is_batch=True)
    told = about_usage(usage, price)
    both = told["leeroo.input_cost_usd"] + told["leeroo.output_cost_usd"]
    assert both == pytest.approx(usage.cost_usd(price), rel=1e-12)
    assert told["leeroo.input_cost_usd"] == price.cost_usd(1_000.0, 0.0, is_batch=True, cached_in=200.0)


def test_words_are_redacted_and_cut():
    said = Said((("user", "Write to ann@example.org"),), "Called ann@example.org")
    trace = redacted(made_trace(said=said), lambda text: text.replace("ann@example.org", "<EMAIL>"))
    told = repr([dict(span.attributes) for span in spans_of(trace, Resource({}))])
    assert "example" not in told
    assert told.count("<EMAIL>") == 2


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{0,33}-[0-9a-f]{0,17}-[0-9a-f]{0,3}"))
def test_a_header_that_is_none_is_ignored(header):
    found = Sampling(1.0).decide(header)
    version, _, rest = header.strip().partition("-")
    parts = rest.split("-")
    is_valid = len(parts) >= 3 and [len(part) for part in parts[:3]] == [32, 16, 2] and version != "ff"
    if not is_valid or not int(parts[0], 16) or not int(parts[1], 16):
        assert found is not None
        assert found.parent_id is None
    assert Sampling(0.0).decide("nonsense" + header) is None


def test_a_share_of_the_requests_is_traced():
    sampling = Sampling(0.1)
    traced = sum(sampling.decide(None) is not None for _ in range(4_000))
    assert 250 < traced < 560  # nine standard deviations
    assert all(sampling.decide(PARENT) is not None for _ in range(50))
    assert not any(sampling.decide(PARENT[:-2] + "00") for _ in range(50))


def test_an_endpoint_that_does_not_trace_loads_nothing_for_it():
    """Ray loads OpenTelemetry for itself; the way of a request does not."""
    for module, unwanted in (
        ("serve.request.gateway, serve.http.api", "opentelemetry"),
        ("serve.ingress", "serve.tracing."),
    ):
        program = f"import sys, {module}; print([m for m in sys.modules if m.startswith({unwanted!r})])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        loaded = set(json.loads(done.stdout.replace("'", '"')))
        assert loaded <= {"serve.tracing.messages", "serve.tracing.places"}, done.stderr


def made_trace(n=2, said=None, **attributes):
    now = time.time_ns()
    spans = [NotedSpan("chat leeroo", "server", now, now + 9, None, {"leeroo.stream": False} | attributes)]
    told = {
        "leeroo.expert": "a",
        "leeroo.attempt": 1,
        "leeroo.cost_usd": 2e-6,
        "gen_ai.usage.input_tokens": 7,
    }
    spans += [NotedSpan("chat m", "client", now + 1, now + 8, 0, told) for _ in range(n - 1)]
    return NotedTrace(Sampled(int(now)), tuple(spans), said)


class Receiver(ThreadingHTTPServer):
    """A receiver of OTLP that does as it is told, and keeps what it was sent."""

    def __init__(self, act):
        self.sent, self.headers, self.act = [], [], act
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Receiving(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.sent.append(ExportTraceServiceRequest.FromString(body))
        self.server.headers.append((self.path, dict(self.headers)))
        self.server.act(self)

    def log_message(self, *_):
        pass


def reply_with(status, content=b"", pause_s=0.0):
    def act(handler):
        time.sleep(pause_s)
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return act


@pytest.fixture
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def receiver(no_variables):
    opened = []

    def open_receiver(act):
        opened.append(Receiver(act))
        return opened[-1]

    yield open_receiver
    for one in opened:
        one.shutdown()
        one.server_close()


def test_a_receiver_gets_spans_with_parents_attributes_and_the_headers_of_the_environment(
    receiver, monkeypatch
):
    served = receiver(reply_with(200))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", served.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=key-of-the-receiver")
    assert trace_destinations(ServeConfig(trace=True)) == ("mlflow", "otlp")
    destination = open_destination("otlp", None)
    trace = made_trace(3)
    destination.offer(spans_of(trace, Resource({"service.name": "leeroo"})))
    assert destination.flush(20)
    assert (destination.exported, destination.dropped) == (3, 0)
    ((path, headers),) = served.headers
    assert (path, headers["x-api-key"]) == ("/v1/traces", "key-of-the-receiver")
    assert "key" not in destination.name
    (of_resource,) = served.sent[0].resource_spans
    assert of_resource.resource.attributes[0].value.string_value == "leeroo"
    root, *calls = of_resource.scope_spans[0].spans
    assert int.from_bytes(root.trace_id, "big") == trace.sampled.trace_id
    assert {span.parent_span_id for span in calls} == {root.span_id}
    told = {one.key: one.value for one in calls[0].attributes}
    assert told["leeroo.cost_usd"].double_value == 2e-6
    assert told["gen_ai.usage.input_tokens"].int_value == 7


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(reply_with(401, b"no"), id="refuses"),
        pytest.param(reply_with(200, b"\xff" * 100), id="answers nonsense"),
        pytest.param(lambda handler: handler.wfile.write(b"no http at all"), id="is no receiver"),
        pytest.param(reply_with(200, pause_s=2.0), id="is slow"),
        pytest.param(None, id="is dead"),
    ],
)
def test_a_bad_receiver_takes_no_time_and_its_losses_are_counted(receiver, monkeypatch, act):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    url = "http://127.0.0.1:9" if act is None else receiver(act).url
    destination = open_destination(url, None)
    spans = [spans_of(made_trace(4), Resource({})) for _ in range(3_000)]
    began = time.thread_time()
    for one in spans:
        destination.offer(one)
    assert time.thread_time() - began < 2  # 12,000 spans; nobody waits for the receiver
    began = time.monotonic()
    destination.flush(1.0)
    destination.close()
    assert time.monotonic() - began < 8
    ends = time.monotonic() + 20
    while destination.exported + destination.dropped < 12_000 and time.monotonic() < ends:
        time.sleep(0.05)
    assert destination.exported + destination.dropped == 12_000
    assert destination.dropped > 0  # there is no room for as many


def test_where_there_is_no_room_whole_traces_are_dropped():
    class Stuck(SpanExporter):
        may_go, sizes = threading.Event(), []

        def export(self, spans):
            self.may_go.wait(30)
            self.sizes.append(len(spans))
            return SpanExportResult.SUCCESS

    stuck = Stuck()
    destination = Destination("somewhere", lambda: stuck, most_waiting=100)
    for _ in range(60):
        destination.offer(spans_of(made_trace(7), Resource({})))
    assert destination.dropped >= 420 - 100 - 512 * len(stuck.sizes) - 100  # one batch may be on its way
    assert destination.dropped % 7 == 0
    dropped = destination.dropped
    stuck.may_go.set()
    assert destination.flush(20)
    assert destination.exported == 420 - dropped
    assert all(size % 7 == 0 for size in stuck.sizes)


def test_a_destination_that_was_away_is_found_again(caplog):
    class Flaky(SpanExporter):
        def __init__(self):
            self.batches = []

        def export(self, spans):
            self.batches.append(len(spans))
            if len(self.batches) == 1:
                raise OSError(SECRET)
            return SpanExportResult.FAILURE if len(self.batches) == 2 else SpanExportResult.SUCCESS

    tries = []

    def open_exporter():
        tries.append(1)
        if len(tries) == 1:
            raise OSError(SECRET)
        return Flaky()

    destination = Destination("somewhere", open_exporter)
    for _ in range(5):
        destination.offer(spans_of(made_trace(), Resource({})))
        assert destination.flush(20)
    assert (destination.exported, destination.dropped) == (4, 6)
    assert SECRET not in caplog.text
    assert [record.levelname for record in caplog.records].count("WARNING") == 2  # it goes, and it comes back


def test_mlflow_lists_cost_tokens_and_the_request(no_variables, tmp_path):
    import mlflow

    from warehouse.mlflow_places import sqlite_uri

    uri = sqlite_uri(tmp_path / "mlflow.db")
    destination = open_destination("mlflow", uri)
    known = {"leeroo.request_id": "req-1", "gen_ai.request.model": "leeroo"}
    said = Said((("user", "Where is Lima?"),), "In Peru.", "stop")
    traces = [made_trace(3, said, **known), made_trace(3, **known)]
    traces.append(NotedTrace(Sampled(77, parent_id=5), traces[0].spans))
    # A caller may make several requests in one trace of its own, and two callers may name the same one.
    other = made_trace(3, Said((("user", "Where is Quito?"),), "In Ecuador.", "stop"), **known)
    root = replace(other.spans[0], attributes=other.spans[0].attributes | {"leeroo.request_id": "req-2"})
    traces.append(NotedTrace(Sampled(77, parent_id=6), (root, *other.spans[1:]), other.said))
    for trace in traces:
        destination.offer(spans_of(trace, Resource({"service.name": "leeroo"})))
    assert destination.flush(120)
    assert destination.exported == 12
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("leeroo").experiment_id
    found = {one.info.trace_id: one for one in client.search_traces(locations=[experiment])}
    assert len(found) == 4
    assert {f"tr-{trace.sampled.trace_id:032x}" for trace in traces[:2]} < set(found)
    assert sorted(one.info.tags.get("leeroo.caller_trace", "") for one in found.values()) == [
        *("", "", f"{77:032x}", f"{77:032x}")
    ]
    assert forget_traces(uri, Selection(frozenset({"req-2"})), ()) == 1
    assert b"Quito" not in (tmp_path / "mlflow.db").read_bytes()
    found = {one.info.trace_id: one for one in client.search_traces(locations=[experiment])}
    for one in found.values():
        assert one.info.state == "OK"  # also where its caller's span lies elsewhere
        assert one.info.cost["total_cost"] == pytest.approx(4e-6)
        assert one.info.token_usage["input_tokens"] == 14
        assert one.info.tags["leeroo.request_id"] == "req-1"
        assert [span.span_type for span in one.data.spans] == ["WORKFLOW", "CHAT_MODEL", "CHAT_MODEL"]
        assert {span.parent_id for span in one.data.spans[1:]} == {one.data.spans[0].span_id}
    words = found[f"tr-{traces[0].sampled.trace_id:032x}"].info
    assert (words.request_preview, words.response_preview) == ("Where is Lima?", "In Peru.")
    assert json.loads(found[f"tr-{traces[1].sampled.trace_id:032x}"].info.request_preview) == {
        "model": "leeroo"
    }
    # What is to be forgotten goes, and words whose time is over; their bytes as well.
    assert b"Lima" in (tmp_path / "mlflow.db").read_bytes()
    assert forget_traces(uri, Selection(frozenset({"req-0"})), ()) == 0
    assert forget_traces(uri, Selection(key_id="key-9"), {"req-9"}) == 0
    later = datetime.now(UTC) + timedelta(days=1)
    assert expire_traces(uri, datetime.now(UTC) - timedelta(days=1)) == 0
    assert expire_traces(uri, later) == 1
    assert b"Lima" not in (tmp_path / "mlflow.db").read_bytes()
    assert forget_traces(uri, Selection(user_hash="somebody"), ()) == 0
    assert forget_traces(uri, Selection(frozenset({"req-1"}), before=later), ()) == 2
    assert not client.search_traces(locations=[experiment])


@pytest.mark.parametrize(
    ("named", "variables"),
    [
        (("otlp",), {}),
        (("ftp://host/",), {}),
        (("somewhere",), {}),
        (("http://",), {}),
        ((f"user:{SECRET}@host:4318",), {}),
        ((f"ftp://user:{SECRET}@host/?key={SECRET}",), {}),
        ((f"http://user:{SECRET}@[host/",), {}),
        ((f"http://user:{SECRET}@host:port",), {}),
        ((f"http://user:{SECRET}@host:99999",), {}),
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": f"user:{SECRET}@host:4318"}),
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRET}@host:99999"}),
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
    ],
)
def test_a_place_that_is_none_is_refused_at_the_start(no_variables, named, variables):
    for name, value in variables.items():
        no_variables.setenv(name, value)
    with pytest.raises(InputError) as refused:
        trace_destinations(ServeConfig(trace=True, trace_to=named))
    assert SECRET not in str(refused.value)
