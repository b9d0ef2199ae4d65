import asyncio
import os
import stat

import pytest

from serve.transport import local_socket
from serve.transport.local_call import LocalCaller, LocalServer


class Context:
    """Stands for Ray's, which knows on which node a process is."""

    def get_node_id(self):
        return "node-1"


@pytest.fixture(autouse=True)
def node(monkeypatch):
    monkeypatch.setattr(local_socket.ray, "get_runtime_context", Context)


class Replica:
    def __init__(self):
        self.calls = []
        self.local = LocalServer(self.double)
        self.by_handle = 0

    async def double(self, items):
        self.calls.append(items)
        if "bad" in items:
            raise KeyError("bad")
        return [item * 2 for item in items]

    async def handle(self, items):
        self.by_handle += 1
        return await self.double(items)


def test_calls_go_by_the_socket_which_nobody_else_may_open():
    async def go():
        replica = Replica()
        call = LocalCaller(replica.local.address, replica.handle)
        answers = [await call([1, 2]), await call(["x" * 100_000])]
        _, path = await replica.local.address()
        mode = os.stat(os.path.dirname(path)).st_mode
        return answers, replica.by_handle, stat.S_IMODE(mode)

    answers, by_handle, mode = asyncio.run(go())
    assert answers == [[2, 4], ["x" * 200_000]]
    assert (by_handle, mode) == (0, 0o700)


def test_a_replica_that_died_is_asked_by_its_handle_and_then_at_its_new_address():
    async def go():
        replicas = [Replica(), Replica()]

        async def find():
            return await replicas[0].local.address()

        async def handle(items):
            return await replicas[0].handle(items)

        call = LocalCaller(find, handle)
        await call([1])
        died = replicas.pop(0)
        died.local._listener.server.close()
        call._connection[1].transport.abort()
        second, third = await call([2]), await call([3])
        return second, third, replicas[0]

    second, third, replica = asyncio.run(go())
    assert (second, third) == ([4], [6])
    assert (replica.calls, replica.by_handle) == ([[2], [3]], 1)


def test_another_node_is_asked_by_the_handle():
    async def go():
        replica = Replica()

        async def find():
            return "node-2", "/nowhere"

        call = LocalCaller(find, replica.handle)
        return [await call([1]), await call([2])], replica.by_handle

    assert asyncio.run(go()) == ([[2], [4]], 2)


def test_what_the_method_raises_comes_by_the_handle():
    async def go():
        replica = Replica()
        await LocalCaller(replica.local.address, replica.handle)(["bad"])

    with pytest.raises(KeyError):
        asyncio.run(go())


def test_where_no_socket_can_be_had_callers_are_told_so_once_and_use_the_handle(monkeypatch, tmp_path):
    too_long = tmp_path / ("x" * 120)
    too_long.mkdir()
    monkeypatch.setattr(local_socket.tempfile, "tempdir", str(too_long))

    async def go():
        replica = Replica()
        looks = 0

        async def find():
            nonlocal looks
            looks += 1
            return await replica.local.address()

        call = LocalCaller(find, replica.handle)
        return [await call([1]), await call([2])], replica.by_handle, looks

    assert asyncio.run(go()) == ([[2], [4]], 2, 1)
