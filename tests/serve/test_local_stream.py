"""Whole answers and streams over a socket: callers that leave, replicas that die or talk nonsense."""

import asyncio
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.upstream import Failure, FailureKind, Usage
from serve.experts.client import StreamPiece
from serve.transport import local_socket, local_stream_caller
from serve.transport.local_socket import frame
from serve.transport.local_stream import StreamServer, Word
from serve.transport.local_stream_caller import (
    FullError,
    LostError,
    NotTakenError,
    RaisedError,
    StreamCaller,
)

ROOT = Path(__file__).parents[2]
HERE = "node-1"
PROMPT_S = 1.0


class Context:
    """Stands for Ray's, which knows on which node a process is."""

    def get_node_id(self):
        return HERE


@pytest.fixture(autouse=True)
def node(monkeypatch):
    monkeypatch.setattr(local_socket.ray, "get_runtime_context", Context)


class Replica:
    """Says what it is asked to say; counts what it works on."""

    def __init__(self, *, at_once=64, most_waiting=256):
        self.begun, self.ended, self.cancelled, self.most = 0, 0, 0, 0
        self.go_on = asyncio.Event()
        self.local = StreamServer(self.answer, self.stream, at_once=at_once, most_waiting=most_waiting)

    async def answer(self, said, wait=False):
        with self:
            if wait:
                await self.go_on.wait()
            if isinstance(said, Exception):
                raise said
            return said

    async def stream(self, pieces, wait_before=None):
        with self:
            for n, piece in enumerate(pieces):
                if n == wait_before:
                    await self.go_on.wait()
                await asyncio.sleep(0)
                if isinstance(piece, Exception):
                    raise piece
                yield piece

    def __enter__(self):
        self.begun += 1
        self.most = max(self.most, self.begun - self.ended)

    def __exit__(self, kind, *_):
        self.ended += 1
        self.cancelled += kind in (asyncio.CancelledError, GeneratorExit)


async def caller_of(find):
    """A caller that has found its replica: until then nothing is taken."""
    caller = StreamCaller(find)
    with pytest.raises(NotTakenError):
        await caller.call("not yet")
    await caller._looking
    return caller


async def read(pieces):
    return [piece async for piece in pieces]


async def caller_left(caller, replica):
    caller._use(None)
    await until(lambda: not replica.local._writers)


async def until(condition, within_s=5.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.002)
    return time.monotonic() - began


words = st.text(max_size=20) | st.integers(1, 3).map(lambda n: "x" * (70_000 * n))
usages = st.builds(Usage, st.integers(0, 9), st.integers(0, 9))
said = st.builds(
    StreamPiece, st.dictionaries(st.text(max_size=3), words, max_size=2), st.booleans(), usages
) | st.builds(Failure, st.sampled_from(FailureKind), words)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(said, max_size=6), max_size=8), st.integers(1, 4))
def test_everyone_gets_its_own_pieces_in_order(streams, at_once):
    async def go():
        replica = Replica(at_once=at_once)
        caller = await caller_of(replica.local.address)
        for _ in range(2):  # over new connections, then over those
            asked = [read(caller.stream(pieces)) for pieces in streams]
            asked += [caller.call(pieces) for pieces in streams]
            assert await asyncio.gather(*asked) == streams * 2
        assert replica.most <= at_once
        assert len(caller._idle) <= 2 * len(streams)
        assert not replica.local._is_busy()

    asyncio.run(go())


def test_a_hundred_and_more_streams_at_once_take_their_turns():
    async def go():
        replica = Replica(at_once=64)
        caller = await caller_of(replica.local.address)
        streams = [[f"{n}-{i}" for i in range(8)] for n in range(300)]
        assert await asyncio.gather(*(read(caller.stream(pieces)) for pieces in streams)) == streams
        assert replica.most == 64
        assert len(caller._idle) == 64

    asyncio.run(go())


def test_only_this_user_may_open_the_socket_and_a_connection_serves_again():
    async def go():
        replica = Replica()
        caller = await caller_of(replica.local.address)
        _, path = await replica.local.address()
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        for n in range(5):
            assert await caller.call(n) == n
            assert await read(caller.stream([n])) == [n]
        assert len(replica.local._writers) == 1

    asyncio.run(go())


@pytest.mark.parametrize("leaves", ["cancelled", "closed", "timed out"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_work_stops_when_its_caller_leaves(is_stream, leaves, caplog):
    async def go():
        replica = Replica(at_once=1)
        caller = await caller_of(replica.local.address)
        pieces = caller.stream(["a", "b"], 1)
        if is_stream:
            assert await anext(pieces) == "a"
        if leaves == "closed" and is_stream:
            await pieces.aclose()
        else:
            asking = asyncio.create_task(anext(pieces) if is_stream else caller.call("so", True))
            await until(lambda: replica.begun == 1)
            await asyncio.sleep(0.02)
            if leaves == "timed out":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await asking
            else:
                asking.cancel()
        assert await until(lambda: replica.ended == 1) < PROMPT_S
        assert replica.cancelled == 1
        assert await caller.call("next") == "next"  # its place is free again
        assert len(caller._idle) == 1
        await caller_left(caller, replica)
        assert caplog.records == []  # callers leave every day

    asyncio.run(go())


def test_who_leaves_while_it_waits_is_never_worked_on():
    async def go():
        replica = Replica(at_once=1)
        caller = await caller_of(replica.local.address)
        first = asyncio.create_task(caller.call("first", True))
        await until(lambda: replica.begun == 1)
        second = asyncio.create_task(caller.call("second"))
        await until(lambda: replica.local._waiting)
        second.cancel()
        await until(lambda: not replica.local._waiting)
        replica.go_on.set()
        assert await first == "first"
        assert replica.begun == 1

    asyncio.run(go())


def test_a_caller_with_too_many_waiting_is_told_so_and_others_are_not():
    async def go():
        replica = Replica(at_once=2, most_waiting=3)
        caller, other = await caller_of(replica.local.address), await caller_of(replica.local.address)
        asked = [asyncio.create_task(caller.call(n, True)) for n in range(8)]
        await until(lambda: sum(task.done() for task in asked) == 3)
        others = asyncio.create_task(other.call("other", True))
        await until(lambda: sum(replica.local._waiting.values()) == 4)
        replica.go_on.set()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(reply, FullError) for reply in replies) == 3
        assert await others == "other"
        assert (replica.begun, replica.most) == (6, 2)
        assert await caller.call("again") == "again"

    asyncio.run(go())


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_a_method_raises_is_told_by_name_and_breaks_nothing(is_stream):
    async def go():
        replica = Replica()
        caller = await caller_of(replica.local.address)
        for bad in (KeyError("bad"), ConnectionError("of its own"), TimeoutError()):
            with pytest.raises(RaisedError, match=type(bad).__name__):
                await (read(caller.stream(["a", bad])) if is_stream else caller.call(bad))
        with pytest.raises(RaisedError):  # it cannot be sent
            await caller.call(Unsendable())
        assert len(replica.local._writers) == 1

    asyncio.run(go())


class Unsendable:
    """Can be sent, but not sent back."""

    is_back = False

    def __reduce__(self):
        if self.is_back:
            raise TypeError("not again")
        return _arrived, ()


def _arrived():
    arrived = Unsendable()
    arrived.is_back = True
    return arrived


DYING = """
import asyncio
from serve.transport import local_socket
from serve.transport.local_stream import StreamServer

async def answer(said):
    print("asked", flush=True)
    await asyncio.sleep(60)

async def stream(pieces):
    print("asked", flush=True)
    for piece in pieces:
        yield piece
    await asyncio.sleep(60)

async def main():
    server = StreamServer(answer, stream, at_once=4, most_waiting=4)
    local_socket.own_node = lambda: "node-1"
    print((await server.address())[1], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("dies", ["before the first piece", "amid a stream", "amid an answer"])
def test_a_replica_that_is_killed_loses_the_request_which_is_not_sent_again(dies):
    async def go():
        process = subprocess.Popen([sys.executable, "-c", DYING], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        replica = Replica()
        try:
            path = process.stdout.readline().strip()

            async def find():
                return HERE, path if process.poll() is None else (await replica.local.address())[1]

            caller = await caller_of(find)
            said = ["a"] if dies == "amid a stream" else []
            pieces = caller.stream(said)
            if said:
                assert await anext(pieces) == "a"
            asking = asyncio.create_task(caller.call("so") if dies == "amid an answer" else anext(pieces))
            assert await asyncio.to_thread(process.stdout.readline) == "asked\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
            with pytest.raises(LostError):
                await asking
            with pytest.raises(NotTakenError):  # by the handle, while it looks for another
                await caller.call("b")
            await caller._looking
            assert await caller.call("c") == "c"
            assert replica.begun == 1
            assert process.stdout.read() == ""  # asked once
        finally:
            process.kill()
            process.wait()

    asyncio.run(go())


class Hostile:
    """A counterpart that sends these bytes when it is asked, and then closes or waits."""

    def __init__(self, path, data, *, closes=True):
        self.path, self.data, self.closes, self.asked = path, data, closes, 0

    async def address(self):
        if not os.path.exists(self.path):
            await asyncio.start_unix_server(self._serve, self.path)
        return HERE, str(self.path)

    async def _serve(self, reader, writer):
        await local_socket.receive(reader)
        await local_socket.receive(reader)
        self.asked += 1
        writer.write(self.data)
        if self.closes:
            writer.close()


WHOLE = frame((int(Word.PIECE), "x" * 50))
ODD = {
    "nothing": b"",
    "half a header": WHOLE[:2],
    "half a frame": WHOLE[:-7],
    "another word": frame((17, "so")),
    "another shape": frame("so"),
    "no pickle": (5).to_bytes(4, "big") + b"hello",
    "a huge frame": b"\xff\xff\xff\xff" + b"x" * 100,
    "a name of nothing": (lambda data: len(data).to_bytes(4, "big") + data)(b"cno_such\nname\n."),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("after", ["at once", "after a piece"])
def test_nonsense_is_an_error_and_is_asked_for_once(tmp_path, what, after):
    async def go():
        hostile = Hostile(tmp_path / "s", WHOLE * (after != "at once") + ODD[what])
        caller = await caller_of(hostile.address)
        pieces = caller.stream([])
        if after != "at once":
            assert await anext(pieces) == "x" * 50
        with pytest.raises((LostError, ValueError, pickle.UnpicklingError, ModuleNotFoundError)):
            await anext(pieces)
        assert hostile.asked == 1
        assert caller._idle == []

    asyncio.run(go())


def test_a_piece_in_place_of_an_answer_is_an_error(tmp_path):
    async def go():
        hostile = Hostile(tmp_path / "s", WHOLE, closes=False)
        caller = await caller_of(hostile.address)
        with pytest.raises(ValueError, match="a piece"):
            await caller.call("so")
        assert caller._idle == []

    asyncio.run(go())


def test_a_counterpart_that_sends_nonsense_ends_its_own_connection_alone(caplog):
    async def go():
        replica = Replica()
        caller = await caller_of(replica.local.address)
        _, path = await replica.local.address()
        for data in (*ODD.values(), frame("name") + frame("nothing to do")):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(data)
            writer.close()
        await asyncio.sleep(0.05)
        assert await caller.call("so") == "so"
        assert len(replica.local._writers) == 1

    asyncio.run(go())


def test_who_reads_slowly_gets_all_of_it_and_holds_nobody_up():
    async def go():
        replica = Replica(at_once=1)
        caller = await caller_of(replica.local.address)
        pieces = ["x" * 1000] * 3000  # what an answer of 3000 tokens takes
        slow = caller.stream(pieces)
        assert await anext(slow) == pieces[0]
        assert await asyncio.wait_for(caller.call("next"), 5) == "next"
        assert [pieces[0], *await read(slow)] == pieces

    asyncio.run(go())


@pytest.mark.parametrize("address", [None, ("node-2", "/nowhere")])
def test_a_replica_elsewhere_is_looked_for_rarely(address):
    async def go():
        looks = []

        async def find():
            looks.append(1)
            return address

        caller = await caller_of(find)
        for _ in range(20):
            with pytest.raises(NotTakenError):
                await caller.call("so")
            await asyncio.sleep(0)
        assert len(looks) == 1

    asyncio.run(go())


def test_a_replica_that_is_down_is_not_looked_for_at_each_request_and_soon_found(monkeypatch):
    monkeypatch.setattr(local_stream_caller, "_AGAIN_S", 0.1)

    async def go():
        replica, looks, is_up = Replica(), [], False

        async def find():
            looks.append(1)
            if not is_up:
                raise ConnectionError("nobody there")
            return await replica.local.address()

        caller = StreamCaller(find)
        began = time.monotonic()
        while time.monotonic() - began < 0.55:
            with pytest.raises(NotTakenError):
                await caller.call("so")
            await asyncio.sleep(0.001)
        assert 3 <= len(looks) <= 6
        is_up, began = True, time.monotonic()
        while True:
            try:
                await caller.call("so")
                break
            except NotTakenError:
                await asyncio.sleep(0.001)
        assert time.monotonic() - began < 0.5

    asyncio.run(go())


def test_a_replica_that_takes_another_place_is_followed_and_its_connections_end(monkeypatch):
    monkeypatch.setattr(local_stream_caller, "ELSEWHERE_S", 0.0)

    async def go():
        replicas = [Replica(), Replica()]

        async def find():
            return await replicas[-1].local.address() if replicas else None

        second = replicas.pop()
        caller = await caller_of(find)
        stream = caller.stream(["a", "b"], 1)
        assert await anext(stream) == "a"
        assert await caller.call(1) == 1
        first = replicas[0]
        replicas.append(second)
        assert await caller.call(2) == 2  # the look that it starts finds the second
        await caller._looking
        assert await caller.call(3) == 3
        assert (first.begun, second.begun) == (3, 1)
        first.go_on.set()
        assert await read(stream) == ["b"]  # what is under way goes on where it began
        await until(lambda: not first.local._writers)
        replicas.clear()  # told to go by the handle
        await caller.call(4)
        await caller._looking
        with pytest.raises(NotTakenError):
            await caller.call(5)

    asyncio.run(go())


def test_a_replica_that_leaves_ends_what_it_began_and_takes_nothing_more():
    async def go():
        replica = Replica()
        caller = await caller_of(replica.local.address)
        await asyncio.gather(*(caller.call(n) for n in range(4)))
        stream, answer = caller.stream(["a", "b"], 1), asyncio.create_task(caller.call("so", True))
        assert await anext(stream) == "a"
        await until(lambda: replica.begun == 6)
        leaving = asyncio.create_task(replica.local.leave())
        await asyncio.sleep(0.05)
        assert not leaving.done()
        with pytest.raises(NotTakenError):
            await caller.call("late")
        with pytest.raises(ConnectionError):
            await replica.local.address()
        replica.go_on.set()
        assert (await answer, await read(stream)) == ("so", ["b"])
        await asyncio.wait_for(leaving, PROMPT_S)
        assert replica.local.leave() is None
        assert replica.begun == 6

    asyncio.run(go())
