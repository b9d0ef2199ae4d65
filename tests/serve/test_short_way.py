"""From an ingress's server straight to its application: what Ray's own handling did is done all the same."""

import asyncio
import contextlib
import json
import logging
import socket

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.http.body_limit import BodyLimit
from serve.http.short_way import Destination, ShortWay


class Application:
    """Answers with the size of what it got; tells what became of requests that take long."""

    def __init__(self):
        self.ended = []

    async def __call__(self, scope, receive, send):
        try:
            await self.answer(scope, receive, send)
        except asyncio.CancelledError:
            self.ended.append(scope["path"])
            raise
        if scope["path"] == "/slow":
            self.ended.append("slow was not cancelled")

    async def answer(self, scope, receive, send):
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        if scope["path"] == "/fails":
            raise RuntimeError("none of the caller's business")
        await asyncio.sleep({"/slow": 30, "/works": 0.5}.get(scope["path"], 0))
        kind = b"text/event-stream" if scope["path"] == "/stream" else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for n in range(1_000 if scope["path"] == "/stream" else 0):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % n, "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": json.dumps({"size": size}).encode()})
        if scope["path"] == "/watches":
            assert (await receive())["type"] == "http.disconnect"


async def ray(scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ray: " + scope["path"].encode()})


@contextlib.asynccontextmanager
async def serving(app, destination=None):
    """Serve what Ray would; the application is set where no destination is given."""
    if destination is None:
        destination = Destination()
        destination.set(app)
    config = uvicorn.Config(ShortWay(ray, destination), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
        yield web, port
    server.should_exit = True
    await running


def run(talk, app=None, **options):
    app = app or Application()

    async def go():
        async with serving(app, **options) as (web, port):
            return await talk(web, port)

    return asyncio.run(go())


def test_requests_go_to_the_application_and_rays_paths_to_ray():
    async def talk(web, _port):
        return [(await web.post(path, content=b"12345")).text for path in ("/x", "/-/healthz", "/-/routes")]

    assert run(talk) == ['{"size": 5}', "ray: /-/healthz", "ray: /-/routes"]


def test_without_an_application_in_this_event_loop_ray_answers():
    async def ask(web, _port):
        return (await web.get("/x")).text

    elsewhere = Destination()

    async def build():
        elsewhere.set(Application())

    asyncio.run(build())
    for destination in (Destination(), elsewhere):
        assert run(ask, destination=destination) == "ray: /x"


@given(st.lists(st.binary(min_size=1, max_size=70_000), max_size=4), st.sampled_from(["/x", "/watches"]))
@settings(deadline=None, max_examples=8)
def test_a_body_in_parts_arrives_whole_and_connections_are_kept(parts, path):
    async def talk(web, _port):
        async def body():
            for part in parts:
                yield part

        return [(await web.post(path, content=body())).json()["size"] for _ in range(3)]

    size = sum(map(len, parts))
    assert run(talk, BodyLimit(Application(), 10**6)) == [size] * 3


def test_an_answer_has_the_id_of_its_request_or_one_of_its_own():
    async def talk(web, _port):
        own = [(await web.get("/x")).headers["x-request-id"] for _ in range(2)]
        return own, (await web.get("/x", headers={"X-Request-ID": "mine"})).headers.get_list("x-request-id")

    own, told = run(talk)
    assert len(set(own)) == 2
    assert told == ["mine"]


@pytest.mark.parametrize("path", ["/slow", "/stream"])
def test_who_hangs_up_ends_the_work(path):
    app = Application()

    async def talk(web, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        if path == "/stream":
            await reader.readuntil(b"data: 3")
        else:
            await asyncio.sleep(0.2)
        writer.close()
        for _ in range(100):
            if app.ended:
                break
            await asyncio.sleep(0.02)
        assert (await web.post("/x", content=b"1")).json() == {"size": 1}

    run(talk, app)
    assert app.ended == [path]


def test_who_hangs_up_within_the_body_ends_the_work():
    app = Application()

    async def talk(web, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{}")
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.2)

    run(talk, app)
    assert app.ended == ["/slow"]


def test_a_cancellation_from_elsewhere_is_passed_on():
    async def go():
        destination = Destination()
        destination.set(Application())

        async def receive():
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_message):
            pass

        scope = {"type": "http", "path": "/slow", "headers": []}
        task = asyncio.create_task(ShortWay(ray, destination)(scope, receive, send))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


def test_a_fault_is_logged_and_the_connection_goes_on(caplog):
    async def talk(web, _port):
        with caplog.at_level(logging.ERROR, "ray.serve"):
            failed = await web.post("/fails", content=b"")
        return failed.status_code, (await web.post("/x", content=b"12")).json()

    assert run(talk) == (500, {"size": 2})
    assert "none of the caller's business" in caplog.text


def test_a_server_that_is_to_end_finishes_what_is_in_work():
    """Ray's drain counts no requests here; its server waits for them."""

    async def go():
        destination = Destination()
        destination.set(Application())
        config = uvicorn.Config(ShortWay(ray, destination), port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as web:
            asked = asyncio.create_task(web.post("/works", content=b"123"))
            await asyncio.sleep(0.2)
            server.should_exit = True
            answer = await asked
        await running
        return answer.json()

    assert asyncio.run(go()) == {"size": 3}


def test_half_of_a_request_is_no_request():
    async def talk(web, port):
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\n")
            return (await web.get("/x")).json()

    assert run(talk) == {"size": 0}
