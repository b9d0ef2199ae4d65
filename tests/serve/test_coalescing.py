import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from serve.transport.coalescing import Coalescer


def gather(coalescer, items):
    async def go():
        return await asyncio.gather(*(coalescer(item) for item in items), return_exceptions=True)

    return asyncio.run(go())


def recorder(groups, fail=lambda group: False):
    async def send(group):
        groups.append(group)
        await asyncio.sleep(0.001)
        if fail(group):
            raise ValueError("no")
        return [item * 10 for item in group]

    return send


def test_what_waits_goes_together_and_every_caller_gets_its_own_result():
    groups = []
    assert gather(Coalescer(recorder(groups), most=4), range(10)) == [n * 10 for n in range(10)]
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_item_alone_is_sent_at_once_and_later_ones_again():
    groups = []
    coalescer = Coalescer(recorder(groups), most=4)

    async def go():
        return [await coalescer(1), await coalescer(2)]

    assert asyncio.run(go()) == [10, 20]
    assert groups == [[1], [2]]


def test_a_failure_meets_its_own_item_alone():
    results = gather(Coalescer(recorder([], lambda group: 0 in group), most=8), range(4))
    assert [repr(result) for result in results] == ["ValueError('no')", "10", "20", "30"]


def test_an_error_that_says_nothing_of_an_item_meets_the_whole_group_once():
    groups = []
    coalescer = Coalescer(recorder(groups, lambda group: 0 in group), most=2, shared=(ValueError,))
    assert [type(result) for result in gather(coalescer, range(4))] == [ValueError, ValueError, int, int]
    assert groups == [[0, 1], [2, 3]]


def test_an_answer_of_the_wrong_length_leaves_nobody_waiting():
    async def send(group):
        return []

    async def go():
        async with asyncio.timeout(5):
            return await asyncio.gather(*map(Coalescer(send, most=4), range(6)), return_exceptions=True)

    assert {type(result) for result in asyncio.run(go())} == {RuntimeError}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 9))
def test_whoever_is_well_is_answered_whoever_stands_beside(ill, most):
    async def send(group):
        await asyncio.sleep(0)
        if any(ill[n] for n in group):
            raise KeyError([n for n in group if ill[n]])
        return [n * 10 for n in group]

    results = gather(Coalescer(send, most=most), range(len(ill)))
    for n, result in enumerate(results):
        if ill[n]:
            assert isinstance(result, KeyError)
            assert result.args == ([n],)
        else:
            assert result == n * 10


def test_a_caller_that_goes_away_does_not_spoil_the_group():
    groups = []
    coalescer = Coalescer(recorder(groups), most=4)

    async def go():
        gone, stays = asyncio.create_task(coalescer(1)), asyncio.create_task(coalescer(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(go()) == 20


def test_a_call_that_is_cancelled_on_its_way_leaves_nobody_waiting():
    async def send(group):
        await asyncio.sleep(0.001)
        raise asyncio.CancelledError

    results = gather(Coalescer(send, most=2), range(5))
    assert [type(result) for result in results] == [ConnectionError] * 5


def test_a_sender_that_is_ended_leaves_nobody_waiting():
    async def go():
        async def send(group):
            await asyncio.sleep(60)

        coalescer = Coalescer(send, most=2)
        calls = [asyncio.ensure_future(coalescer(item)) for item in range(5)]
        await asyncio.sleep(0.01)
        coalescer._sender.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait(calls)
        return [call.cancelled() for call in calls]

    assert asyncio.run(go()) == [True] * 5


def test_a_patient_item_goes_before_the_next_that_is_not_and_alone_when_its_time_is_over():
    groups = []
    coalescer = Coalescer(recorder(groups), most=4)

    async def go():
        patient = asyncio.create_task(coalescer(1, within_s=30.0))
        await asyncio.sleep(0.01)
        assert groups == []
        assert await coalescer(2) == 20
        assert await patient == 10
        began = asyncio.get_running_loop().time()
        assert await coalescer(3, within_s=0.05) == 30
        assert 0.04 < asyncio.get_running_loop().time() - began < 5
        return await coalescer(4)

    assert asyncio.run(go()) == 40
    assert groups == [[1, 2], [3], [4]]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.003, 0.02]), st.integers(0, 3)), max_size=25))
@settings(deadline=None, max_examples=40)
def test_items_are_sent_in_the_order_they_came_patient_or_not(steps):
    groups = []
    coalescer = Coalescer(recorder(groups), most=3)

    async def go():
        tasks = []
        for number, (within_s, wait_ms) in enumerate(steps):
            tasks.append(asyncio.create_task(coalescer(number, within_s=within_s)))
            await asyncio.sleep(wait_ms / 1000)
        return await asyncio.wait_for(asyncio.gather(*tasks), 5)

    assert asyncio.run(go()) == [number * 10 for number in range(len(steps))]
    assert [item for group in groups for item in group] == list(range(len(steps)))
    assert all(len(group) <= 3 for group in groups)


def test_a_flush_waits_for_all_that_came_before_and_for_nothing_after():
    groups = []
    coalescer = Coalescer(recorder(groups), most=2)

    async def go():
        await coalescer.flush()
        patient = [asyncio.create_task(coalescer(n, within_s=30.0)) for n in range(5)]
        await asyncio.sleep(0)
        flushing = asyncio.create_task(coalescer.flush())
        await asyncio.sleep(0)
        later = asyncio.create_task(coalescer(9, within_s=0.5))
        await flushing
        await asyncio.sleep(0)
        assert [task.done() for task in patient] == [True] * 5
        return await later

    assert asyncio.run(asyncio.wait_for(go(), 10)) == 90
    assert groups[:2] == [[0, 1], [2, 3]]
