"""Replicas of Ray Serve that are asked by their socket: stopped, killed, multiplied; and a real engine."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from experts import ExpertSpec, load_catalogue
from experts.upstream import Failure, FailureKind, Usage, ask_of
from serve.experts.client import OpenStream, StreamPiece, WholeAnswer
from serve.experts.deployments import deployment_options, hosted_client
from serve.experts.local import LocalClient
from serve.experts.vllm_expert import VllmExpert
from serve.transport import local_stream_caller
from serve.transport.local_stream import StreamServer
from serve.transport.local_stream_caller import StreamCaller
from serve.transport.patient_call import locate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
APP = "by-socket"
LASTS_S = 4.0  # longer than Ray Serve waits where it knows of no call, and shorter than it gives at most
SPEC = load_catalogue().get("smollm2-135m")


def ask_for(lasts_s):
    return ask_of(SPEC, {"messages": [{"role": "user", "content": "hello"}], "seed": int(lasts_s * 1000)})


@pytest.fixture
def deploy(ray_cluster):
    from ray import serve as ray_serve

    usage = Usage(10, 2)

    class Scripted(VllmExpert):
        """As an expert is, but for the engine: says who it is, after a while."""

        async def __init__(self):
            self._local = StreamServer(self.answer, self.stream, at_once=8, most_waiting=8)

        async def answer(self, body, timeout_s):
            import os

            await asyncio.sleep(body["seed"] / 1000)
            return WholeAnswer({"pid": os.getpid()}, usage)

        async def stream(self, body, timeout_s):
            for n in range(8):
                yield StreamPiece({"choices": [{"index": n}]}, True, usage)
                await asyncio.sleep(body["seed"] / 8000)
            yield StreamPiece({}, False, usage)

        async def check_health(self):
            pass

    def start(**changes):
        options = deployment_options(SPEC) | changes
        options.pop("ray_actor_options")
        bound = ray_serve.deployment(Scripted, **options, ray_actor_options={"num_cpus": 0.1}).bind()
        return ray_serve.run(bound, name=APP, route_prefix=None)

    yield start
    ray_serve.delete(APP)


class Counted:
    """A client, and how many of its requests went by the handle."""

    def __init__(self, handle):
        self.client = hosted_client(SPEC, handle, StreamCaller(partial(locate, handle.address)))
        assert isinstance(self.client, LocalClient)
        self.by_handle = 0
        answer = self.client._by_handle.answer

        async def counted(*arguments):
            self.by_handle += 1
            return await answer(*arguments)

        self.client._by_handle.answer = counted

    async def ask(self, lasts_s=0.0):
        return await self.client.answer(ask_for(lasts_s), 30)

    async def by_socket(self, within_s=30.0):
        """Ask until a request goes by the socket; return its answer, and the seconds it took to get there."""
        began = time.monotonic()
        while True:
            before = self.by_handle
            answer = await self.ask()
            if self.by_handle == before and isinstance(answer, WholeAnswer):
                return answer, time.monotonic() - began
            assert time.monotonic() - began < within_s, answer
            await asyncio.sleep(0.05)


async def read(stream):
    assert isinstance(stream, OpenStream), stream
    return [*stream.opening, *[piece async for piece in stream.rest]]


def test_a_replica_that_is_stopped_first_ends_what_came_by_its_socket(deploy):
    from ray import serve as ray_serve

    handle = deploy()

    async def go():
        counted = Counted(handle)
        await counted.by_socket()
        before = counted.by_handle
        whole = asyncio.create_task(counted.ask(LASTS_S))
        streamed = asyncio.create_task(read(await counted.client.open_stream(ask_for(LASTS_S), 30)))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        stopping = threading.Thread(target=ray_serve.delete, args=(APP,), daemon=True)
        stopping.start()
        answer, pieces = await whole, await streamed
        assert isinstance(answer, WholeAnswer), answer
        assert len(pieces) == 9
        assert not any(isinstance(piece, Failure) for piece in pieces), pieces
        await asyncio.to_thread(stopping.join)
        print(f"\nthe replica ended {time.monotonic() - began:.1f} s after it was told to")
        assert counted.by_handle == before

    asyncio.run(go())


def test_a_replica_that_dies_is_replaced_and_found_again(deploy, monkeypatch):
    import psutil

    handle = deploy()

    async def go():
        counted = Counted(handle)
        first, _ = await counted.by_socket()
        lost = asyncio.create_task(counted.ask(LASTS_S))
        stream = await counted.client.open_stream(ask_for(LASTS_S), 30)
        await asyncio.sleep(0.3)
        psutil.Process(first.body["pid"]).kill()
        assert (await lost).kind == FailureKind.NOT_RUNNING
        assert (await read(stream))[-1].kind == FailureKind.NOT_RUNNING
        second, took_s = await counted.by_socket()
        print(f"\nanother replica answers by its socket after {took_s:.1f} s; {counted.by_handle} by handle")
        assert second.body["pid"] != first.body["pid"]

    asyncio.run(go())


@pytest.mark.parametrize(
    "changes",
    [
        {"num_replicas": 2},
        {"num_replicas": None, "autoscaling_config": {"min_replicas": 1, "max_replicas": 2}},
    ],
)
def test_who_gets_company_is_asked_by_the_handle_again(deploy, monkeypatch, changes):
    monkeypatch.setattr(local_stream_caller, "ELSEWHERE_S", 0.2)
    handle = deploy()

    async def go():
        counted = Counted(handle)
        await counted.by_socket()
        await asyncio.to_thread(deploy, **changes)
        ends = time.monotonic() + 20
        in_a_row = 0
        while in_a_row < 20:
            before = counted.by_handle
            assert isinstance(await counted.ask(), WholeAnswer)
            in_a_row = in_a_row + 1 if counted.by_handle > before else 0
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)

    asyncio.run(go())


ENGINE = """
import asyncio, json, sys, time
from types import SimpleNamespace
import ray
from experts import ExpertSpec
from experts.upstream import ask_of
from serve.experts.handle import HandleClient
from serve.experts.local import LocalClient
from serve.experts.vllm_expert import VllmExpert
from serve.transport.local_stream_caller import StreamCaller

class NoHandle:
    def options(self, **_):
        return self

async def idle_after(engine):
    began = time.monotonic()
    while engine.output_processor.has_unfinished_requests():
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.005)
    return time.monotonic() - began

async def main(spec):
    expert = VllmExpert.__new__(VllmExpert)
    await expert.__init__(spec)
    try:
        await ask_all(spec, expert)
    finally:
        expert._engine.shutdown()

async def ask_all(spec, expert):
    ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "here")
    calls = StreamCaller(expert._local.address)
    calls._look_if_due()
    await calls._looking
    client = LocalClient(spec, calls, HandleClient(spec, NoHandle()))
    short = {"prompt": "Mount Etna is a mountain in", "max_tokens": 8, "ignore_eos": True}
    ask, direct = ask_of(spec, short), await expert.answer(short, 60.0)
    answer = await client.answer(ask, 60.0)
    stream = await client.open_stream(ask, 60.0)
    pieces = [*stream.opening, *[piece async for piece in stream.rest]]
    text = "".join(c["text"] for piece in pieces for c in piece.body.get("choices", ()))
    told = {"direct": direct.body["choices"][0]["text"], "by socket": answer.body["choices"][0]["text"],
            "streamed": text, "tokens": pieces[-1].usage.completion_tokens}
    long = ask_of(spec, short | {"max_tokens": 900})
    engine = expert._engine
    answering = asyncio.create_task(client.answer(long, 60.0))
    while not engine.output_processor.has_unfinished_requests():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    answering.cancel()
    told["whole idle"] = await idle_after(engine)
    stream = await client.open_stream(long, 60.0)
    assert engine.output_processor.has_unfinished_requests()
    await stream.rest.aclose()
    told["stream idle"] = await idle_after(engine)
    told["after"] = (await client.answer(ask, 60.0)).body["choices"][0]["text"]
    print("TOLD", json.dumps(told))

if __name__ == "__main__":
    asyncio.run(main(ExpertSpec.model_validate_json(sys.argv[1])))
"""


def test_an_engine_answers_by_its_socket_and_stops_when_its_caller_leaves():
    spec: ExpertSpec = SPEC.model_copy(update={"context_tokens": 1024})
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, spec.model_dump_json()],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")] or [done.stderr[-4000:]]
    told = json.loads(line.removeprefix("TOLD "))
    print("\n", told)
    assert told["direct"] == told["by socket"] == told["streamed"] == told["after"]
    assert told["tokens"] == 8
    assert max(told["whole idle"], told["stream idle"]) < 1.0  # 900 tokens take longer
