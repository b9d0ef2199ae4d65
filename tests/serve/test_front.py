import asyncio
import json

from serve.http.proxy_errors import ErrorShape, middlewares


def through(*messages):
    """Return what a client gets when the proxy behind the middleware sends these messages."""
    sent = []

    async def proxy(scope, receive, send):
        for message in messages:
            await send(message)

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    asyncio.run(ErrorShape(proxy)({"type": "http", "method": "GET", "headers": []}, receive, send))
    body = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0]["status"], dict(sent[0]["headers"]), body


def start(status, kind):
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]}


def part(body, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


def test_a_proxy_that_says_nothing_is_a_503_in_openais_shape():
    status, headers, body = through()
    assert status == 503
    assert headers[b"retry-after"] == b"2"
    assert json.loads(body)["error"]["code"] == "restarting"


def test_rays_own_words_are_replaced():
    status, _, body = through(start(503, b"text/plain; charset=utf-8"), part(b"Deployment is unavailable."))
    assert (status, json.loads(body)["error"]["type"]) == (503, "server_error")
    status, _, body = through(start(408, b"text/plain; charset=utf-8"), part(b"Request 1 timed out."))
    assert (status, json.loads(body)["error"]["code"]) == (504, "timeout")


def test_a_stream_that_is_cut_ends_with_an_error_event():
    events = b'data: {"choices":[]}\n\n'
    status, _, body = through(start(200, b"text/event-stream; charset=utf-8"), part(events, more=True))
    *_, error, done = [line.removeprefix("data: ") for line in body.splitlines() if line]
    assert status == 200
    assert json.loads(error)["error"]["code"] == "stream_cut"
    assert done == "[DONE]"


def test_whole_answers_pass_as_they_are():
    assert through(start(200, b"application/json"), part(b"{}"))[2] == "{}"
    assert through(start(429, b"application/json"), part(b'{"error":1}'))[2] == '{"error":1}'
    assert through(start(200, b"text/plain; version=1"), part(b"x 1"))[2] == "x 1"
    whole = start(200, b"text/event-stream"), part(b"data: [DONE]\n\n", more=True), part(b"")
    assert through(*whole)[2] == "data: [DONE]\n\n"


def test_ray_takes_the_middleware():
    from ray.serve._private.http_util import validate_http_proxy_callback_return

    assert len(validate_http_proxy_callback_return(middlewares())) == 1


def test_what_haproxy_passes_to_listens_on_the_loopback():
    """An actor's class has globals of its own: what starts the server is found where it is called."""
    from ray.serve._private.replica import HTTPOptions

    from serve.http.own_listener import start_locally

    async def start(app, options, **more):
        return app, options.host, more

    code = """
async def begin(options):
    configure()
    return await start_asgi_http_server("app", options, event_loop=1)
"""
    names = {"start_asgi_http_server": start, "configure": lambda: start_locally("127.0.0.1")}
    exec(code, names)
    for _ in range(2):
        told = asyncio.run(names["begin"](HTTPOptions(host="0.0.0.0")))
        assert told == ("app", "127.0.0.1", {"event_loop": 1})
