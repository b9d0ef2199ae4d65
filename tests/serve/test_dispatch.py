"""Who is asked next, and what a client sees when nobody answers."""

import asyncio
import math
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from fake_experts import BROKEN, BUSY, SLOW, TOO_LONG, ScriptedExpert
from hypothesis import given
from hypothesis import strategies as st

from experts.upstream import CONSEQUENCES, Failure, FailureKind, ask_of
from serve.request.asking.course import Attempt, InOrder
from serve.request.dispatch import find_answer, refusal
from serve.wire.api_errors import ApiError

KINDS = st.sampled_from(list(FailureKind))
WAITS = st.none() | st.sampled_from([0.2, 20.0, 1e9, math.inf, math.nan])
FAILURES = st.lists(
    st.builds(Failure, KINDS, st.text(max_size=5), retry_after_s=WAITS), min_size=1, max_size=4
)


class NoBooks:
    def __init__(self):
        self.told = []

    async def begin(self, expert):
        return True

    def answered(self, expert, value, unusable, asked_at):
        self.told.append((expert.spec.name, unusable))
        return 0.0

    def failed(self, expert, failure, asked_at):
        self.told.append((expert.spec.name, failure))
        return 0.0

    def abandoned(self, expert):
        self.told.append((expert.spec.name, "abandoned"))


def attempts(*failures):
    return [Attempt(f"e{number}", failure) for number, failure in enumerate(failures)]


@given(FAILURES)
def test_every_refusal_can_be_told(failures):
    error = refusal(attempts(*failures))
    assert error.status in {400, 429, 502, 503, 504}
    assert isinstance(error.code, str)
    assert all(1 <= int(value) <= 86_400 for value in error.headers().values())
    blames = {failure.consequence.blame for failure in failures}
    assert (error.status == 400) == (blames == {"request"}), (
        "only what every expert says is the caller's fault"
    )
    if error.status == 429:
        assert FailureKind.BUSY in {failure.kind for failure in failures}


@pytest.mark.parametrize("kind", FailureKind)
def test_alone_each_kind_is_told_as_the_table_says(kind):
    assert refusal(attempts(Failure(kind, "no"))).status == CONSEQUENCES[kind].status


def test_the_shortest_wait_that_is_asked_for_is_told_and_never_beside_other_trouble():
    waits = [replace(BUSY, retry_after_s=wait) for wait in (40.0, 20.0)]
    assert refusal(attempts(*waits)).headers() == {"Retry-After": "20"}
    assert refusal(attempts(*waits, TOO_LONG)).headers() == {"Retry-After": "20"}
    assert refusal(attempts(*waits, BROKEN)).headers() == {}


def run(experts, ask, *, within_s=5.0):
    books = NoBooks()

    async def go():
        return await find_answer(InOrder(experts), ask, time.monotonic() + within_s, books)

    try:
        return asyncio.run(go()), books.told
    except ApiError as error:
        return error, books.told


def test_nobody_waits_for_an_expert_that_is_busy_while_another_is_at_hand():
    experts = [
        ScriptedExpert("gemma-3-270m", replace(BUSY, retry_after_s=20.0)),
        ScriptedExpert("smollm2-135m"),
    ]
    began = time.monotonic()
    answered, _ = run(
        experts, lambda client, timeout_s: client.answer(ask_of(client.spec, {"prompt": "x"}), timeout_s)
    )
    assert answered.expert.spec.name == "smollm2-135m"
    assert time.monotonic() - began < 2


def test_what_is_raised_on_the_way_to_an_expert_is_its_failure():
    async def ask(client, timeout_s):
        if client.spec.name == "gemma-3-270m":
            raise [ValueError("odd"), asyncio.CancelledError()][len(seen) % 2]
        return "answer"

    for number in range(2):
        seen = [None] * number
        experts = [ScriptedExpert("gemma-3-270m"), ScriptedExpert("smollm2-135m")]
        answered, told = run(experts, ask)
        assert answered.value == "answer"
        assert told[0][1].kind is FailureKind.BROKEN_CONNECTION


@pytest.mark.parametrize(("within_s", "is_own"), [(1.0, True), (1_000.0, False)])
def test_a_time_that_is_shorter_than_the_experts_own_is_the_callers(within_s, is_own):
    async def ask(client, timeout_s):
        return SLOW

    _, told = run([ScriptedExpert("gemma-3-270m")], ask, within_s=within_s)
    assert told[0][1].in_time_of_caller == is_own


def test_the_request_path_loads_neither_ray_nor_the_web():
    program = "import serve.request.gateway, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    heavy = {"ray", "torch", "mlflow", "vllm", "transformers", "fastapi", "starlette", "httpx", "sklearn"}
    assert not set(loaded.split()) & heavy


class _TwoAtOnce(InOrder):
    """Asks the second beside the first, at once."""

    def beside_after_s(self):
        return None if self.is_last else 0.0

    def next_beside(self):
        return self.next_expert()


@pytest.mark.parametrize("between", range(4))
def test_who_is_cancelled_twice_is_charged_for_all_who_were_at_work(between):
    """A stop cancels an answer, and so does the stream that waits for it."""
    experts = [ScriptedExpert("smollm2-135m"), ScriptedExpert("gemma-3-270m")]
    begun, books = [], NoBooks()

    async def ask(client, _limit_s):
        begun.append(client.spec.name)
        await asyncio.sleep(30)

    async def go():
        work = asyncio.ensure_future(find_answer(_TwoAtOnce(experts), ask, math.inf, books))
        while len(begun) < 2:
            await asyncio.sleep(0)
            assert not work.done()
        work.cancel()
        for _ in range(between):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work})

    asyncio.run(go())
    assert sorted(books.told) == [("gemma-3-270m", "abandoned"), ("smollm2-135m", "abandoned")]
