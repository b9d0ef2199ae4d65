"""An expert asked by its replica's socket, and by the handle where that cannot be."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from experts import ExpertSpec
from experts.upstream import Failure, FailureKind, Usage, ask_of
from serve.experts.client import OpenStream, StreamPiece, WholeAnswer
from serve.experts.deployments import DEPLOYMENTS, Hosted, hosted_client
from serve.experts.handle import HandleClient
from serve.experts.local import LocalClient
from serve.transport import local_socket
from serve.transport.local_stream import StreamServer
from serve.transport.local_stream_caller import StreamCaller

HERE = "node-1"
USAGE = Usage(10, 2)
BODY = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def node(monkeypatch):
    monkeypatch.setattr(
        local_socket.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: HERE)
    )


def spec_of(**resources):
    return ExpertSpec.model_validate(
        {
            "name": "so",
            "backend": "vllm",
            "model": "bundled:smollm2-135m-instruct",
            "price": {"usd_per_mtok_in": 0, "usd_per_mtok_out": 0},
            "resources": resources,
        }
    )


ASK = ask_of(spec_of(), BODY)


def piece(text, shows=True):
    return StreamPiece({"choices": [{"index": 0, "delta": {"content": text}}]}, shows, USAGE)


class Expert:
    """A replica whose behaviour is set; what comes by the handle comes here, too, and is counted."""

    def __init__(self, *, at_once=8, most_waiting=8):
        self.local = StreamServer(self.answer, self.stream, at_once=at_once, most_waiting=most_waiting)
        self.asked = self.by_handle = self.ended = 0
        self.says = [piece("a"), piece("b"), StreamPiece({}, False, USAGE)]
        self.error, self.lasts_s, self.node, self.is_dead = None, 0.0, HERE, False

    async def answer(self, body, timeout_s):
        assert body == BODY
        self.asked += 1
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    await asyncio.sleep(self.lasts_s)
            except TimeoutError:
                return Failure(FailureKind.TIMEOUT, "by the replica")
            if self.error is not None:
                raise self.error
            return WholeAnswer({"said": "so"}, USAGE)
        finally:
            self.ended += 1

    async def stream(self, body, timeout_s):
        self.asked += 1
        try:
            for said in self.says:
                await asyncio.sleep(self.lasts_s)
                yield said
            if self.error is not None:
                raise self.error
        finally:
            self.ended += 1

    async def address(self):
        _, path = await self.local.address()
        return self.node, path

    def client(self):
        by_handle = HandleClient(spec_of(), Handle(self))
        return LocalClient(spec_of(), StreamCaller(self.address), by_handle)

    async def found(self):
        client = self.client()
        await client.answer(ASK, 5)
        await client._calls._looking
        self.by_handle = self.asked = self.ended = 0
        return client


class Handle:
    """Stands for Serve's: calls the replica, and fails as Ray does where that is dead."""

    def __init__(self, expert):
        self._expert = expert
        self.answer = SimpleNamespace(remote=self._answer)
        self.stream = SimpleNamespace(remote=self._stream)

    def options(self, **_):
        return self

    async def _answer(self, *arguments):
        self._count()
        return await self._expert.answer(*arguments)

    def _stream(self, *arguments):
        self._count()
        return Response(self._expert.stream(*arguments))

    def _count(self):
        self._expert.by_handle += 1
        if self._expert.is_dead:
            raise RayActorError


class Response:
    def __init__(self, pieces):
        self._pieces = pieces

    def __aiter__(self):
        return self._pieces

    def cancel(self):
        pass


async def read(stream):
    assert isinstance(stream, OpenStream), stream
    said = list(stream.opening)
    while True:
        try:
            said.append(await anext(stream.rest))
        except StopAsyncIteration:
            return said


async def until(condition):
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.002)


def test_the_first_request_goes_by_the_handle_and_all_others_by_the_socket():
    async def go():
        expert = Expert()
        client = expert.client()
        assert await client.answer(ASK, 5) == WholeAnswer({"said": "so"}, USAGE)
        assert expert.by_handle == 1
        await client._calls._looking
        for _ in range(3):
            assert await client.answer(ASK, 5) == WholeAnswer({"said": "so"}, USAGE)
            assert await read(await client.open_stream(ASK, 5)) == expert.says
        assert (expert.by_handle, expert.asked) == (1, 7)

    asyncio.run(go())


@pytest.mark.parametrize("why", ["on another node", "gone before it was asked", "leaving"])
def test_what_the_socket_cannot_take_goes_by_the_handle_once(why):
    async def go():
        expert = Expert()
        client = await expert.found()
        await client.answer(ASK, 5)
        assert (expert.by_handle, len(client._calls._idle)) == (0, 1)
        expert.asked = 0
        if why == "on another node":
            expert.node = "node-2"
            client._calls._forget(client._calls._path)
        elif why == "leaving":
            assert expert.local.leave() is None
        else:
            expert.local._listener.server.close()
            for writer in list(expert.local._writers):
                writer.transport.abort()
            await asyncio.sleep(0.01)
        assert await client.answer(ASK, 5) == WholeAnswer({"said": "so"}, USAGE)
        assert await read(await client.open_stream(ASK, 5)) == expert.says
        assert (expert.by_handle, expert.asked) == (2, 2)

    asyncio.run(go())


def test_what_is_dead_by_both_ways_is_not_running():
    async def go():
        expert = Expert()
        client = await expert.found()
        expert.is_dead = True
        assert expert.local.leave() is None
        told = [await client.answer(ASK, 5), await client.open_stream(ASK, 5)]
        assert {failure.kind for failure in told} == {FailureKind.NOT_RUNNING}
        assert expert.by_handle == 2

    asyncio.run(go())


def test_a_connection_that_breaks_amid_the_work_is_a_failure_and_no_repeat():
    async def go():
        expert = Expert()
        client = await expert.found()
        expert.lasts_s = 0.1

        async def cut(asked):
            await until(lambda: expert.asked == asked)
            for writer in list(expert.local._writers):
                writer.transport.abort()

        cutting = asyncio.create_task(cut(1))
        failure = await client.answer(ASK, 5)
        assert (failure.kind, failure.message) == (FailureKind.NOT_RUNNING, "it is not running")
        await cutting
        client._calls._path = (await expert.local.address())[1]
        cutting = asyncio.create_task(cut(2))
        assert (await client.open_stream(ASK, 5)).kind == FailureKind.NOT_RUNNING
        await cutting
        client._calls._path = (await expert.local.address())[1]
        stream = await client.open_stream(ASK, 5)
        await cut(3)
        said = await read(stream)
        assert (said[0], said[-1].kind) == (piece("a"), FailureKind.NOT_RUNNING)
        assert (expert.asked, expert.by_handle) == (3, 0)

    asyncio.run(go())


def test_failures_come_as_they_are_and_what_is_raised_as_an_error_of_the_server():
    async def go():
        expert = Expert()
        client = await expert.found()
        cut = Failure(FailureKind.CUT_STREAM, "so it ends", usage=USAGE)
        expert.says = [piece("a"), cut]
        assert await read(await client.open_stream(ASK, 5)) == expert.says
        expert.says = [cut]
        assert await client.open_stream(ASK, 5) == cut
        expert.says, expert.error = [], KeyError("secret words")
        for failure in (await client.answer(ASK, 5), await client.open_stream(ASK, 5)):
            assert failure == Failure(FailureKind.SERVER_ERROR, "it failed (KeyError)")
        expert.says = [piece("a")]
        assert (await read(await client.open_stream(ASK, 5)))[-1].kind == FailureKind.SERVER_ERROR
        assert expert.by_handle == 0

    asyncio.run(go())


def test_the_replica_keeps_the_time_of_an_answer_and_the_caller_that_of_a_stream(monkeypatch):
    monkeypatch.setattr("serve.experts.local.GRACE_S", 0.1)

    async def go():
        expert = Expert()
        client = await expert.found()
        expert.lasts_s = 30
        assert (await client.answer(ASK, 0.05)).message == "by the replica"
        began = time.monotonic()
        failure = await client.open_stream(ASK, 0.05)
        assert failure == Failure(FailureKind.TIMEOUT, "it did not answer within 0.05 s")
        assert 0.14 < time.monotonic() - began < 2
        await until(lambda: expert.ended == 2)
        # A replica that is stopped keeps no time, and no caller.
        expert.local._answer = lambda *_: asyncio.sleep(30)
        assert (await client.answer(ASK, 0.05)).kind == FailureKind.TIMEOUT
        assert expert.by_handle == 0

    asyncio.run(go())


def test_who_leaves_stops_the_work_before_and_after_the_first_piece():
    async def go():
        expert = Expert()
        client = await expert.found()
        expert.says = [piece("a"), *(piece("b") for _ in range(1000))]
        expert.lasts_s = 0.01
        for ask in (client.answer, client.open_stream):
            expert.lasts_s, before = 5, expert.ended
            asking = asyncio.create_task(ask(ASK, 30))
            await asyncio.sleep(0.05)
            asking.cancel()
            await until(lambda before=before: expert.ended == before + 1)
        expert.lasts_s = 0.01
        stream = await client.open_stream(ASK, 5)
        await stream.rest.aclose()
        await until(lambda: expert.ended == 3)
        stream = await client.open_stream(ASK, 5)
        reading = asyncio.create_task(anext(stream.rest))
        await asyncio.sleep(0)
        reading.cancel()
        await until(lambda: expert.ended == 4)
        assert expert.by_handle == 0

    asyncio.run(go())


def test_beyond_its_queue_it_is_busy():
    async def go():
        expert = Expert(at_once=1, most_waiting=2)
        client = await expert.found()
        expert.lasts_s = 0.2
        replies = await asyncio.gather(*(client.answer(ASK, 5) for _ in range(5)))
        busy = Failure(FailureKind.BUSY, "it has too many requests waiting")
        assert sum(reply == busy for reply in replies) == 2
        assert sum(isinstance(reply, WholeAnswer) for reply in replies) == 3
        assert (expert.asked, expert.by_handle) == (3, 0)

    asyncio.run(go())


class WithoutSocket:
    """A replica that offers nothing but its handle."""


@pytest.mark.parametrize(
    ("resources", "answers", "expected"),
    [
        ({}, None, LocalClient),
        ({"replicas_max": 2}, None, HandleClient),
        ({"replicas_min": 2, "replicas_max": 2}, None, HandleClient),
        ({"replicas_min": 0}, None, HandleClient),
        ({}, WithoutSocket, HandleClient),
    ],
)
def test_an_only_replica_that_stays_is_asked_by_its_socket(monkeypatch, resources, answers, expected):
    if answers is not None:
        monkeypatch.setitem(DEPLOYMENTS, "vllm", Hosted(answers, lambda _: 64, lambda _: {}))
    expert = Expert()
    client = hosted_client(spec_of(**resources), Handle(expert), StreamCaller(expert.address))
    assert type(client) is expected
