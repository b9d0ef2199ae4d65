import asyncio

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


def test_a_failure_meets_its_group_alone():
    results = gather(Coalescer(recorder([], lambda group: 0 in group), most=2), range(4))
    assert [type(result) for result in results] == [ValueError, ValueError, int, int]


def test_a_caller_that_goes_away_does_not_spoil_the_group():
    groups = []
    coalescer = Coalescer(recorder(groups), most=4)

    async def go():
        gone, stays = asyncio.create_task(coalescer(1)), asyncio.create_task(coalescer(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(go()) == 20
