from serve.request.breaker import FIRST_REST_S, LONGEST_REST_S, Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rests_grow_and_a_success_clears_them():
    clock = Clock()
    breaker = Breaker(clock)
    rests = []
    for _ in range(12):
        breaker.record("a", healthy=False)
        start = clock.now
        while breaker.resting(["a", "b"]) == ("a",):
            clock.now += 0.5
        rests.append(clock.now - start)
    assert rests[:5] == [0, 0, FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert max(rests) == LONGEST_REST_S
    breaker.record("a", healthy=True)
    breaker.record("a", healthy=False)
    assert breaker.resting(["a"]) == ()


def test_failures_of_requests_under_way_do_not_prolong_a_rest():
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(20):
        breaker.record("a", healthy=False)
    clock.now = FIRST_REST_S
    assert breaker.resting(["a"]) == ()
