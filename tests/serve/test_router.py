from serve.router import Query, decide_all
from warehouse import InputError


def test_a_batch_decides_as_each_alone_and_errors_stay_where_they_belong(orchestrator):
    capital, add = "What is the capital of Peru?", "What is 3 + 21?"
    queries = [
        Query(capital, preset="quality"),
        Query(add, preset="quality"),
        Query(capital, max_cost_usd=1e-12),
        Query(capital, preset="economy"),
        Query(capital, allow=("nobody",)),
        Query(add, preset="quality", deny=("smollm2-135m",)),
    ]
    together = decide_all(orchestrator, queries)
    alone = [decide_all(orchestrator, [query])[0] for query in queries]
    for one, other in zip(together, alone, strict=True):
        assert str(one) == str(other)
    assert [type(decision) is InputError for decision in together] == [False, False, True, False, True, False]
    assert [together[i].expert for i in (0, 1, 3, 5)] == [
        "gemma-3-270m",
        "smollm2-135m",
        "smollm2-135m",
        "gemma-3-270m",
    ]


def test_one_impossible_limit_does_not_spoil_the_others_of_its_group(orchestrator):
    short, long = "What is 3 + 21?", "What is 3 + 21? " * 40
    costs = [
        min(d.cost_usd.values())
        for d in decide_all(orchestrator, [Query(t, preset="quality") for t in (short, long)])
    ]
    limit = sum(costs) / 2
    assert costs[0] != costs[1]
    decided = decide_all(orchestrator, [Query(short, max_cost_usd=limit), Query(long, max_cost_usd=limit)])
    assert sorted(isinstance(decision, InputError) for decision in decided) == [False, True]
