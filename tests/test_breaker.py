from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.breaker import PROBE_INTERVAL, THRESHOLD, Breaker


def opened(at=100.0):
    breaker = Breaker()
    for _ in range(THRESHOLD):
        breaker.failed(at)
    return breaker


class TestAFewFailuresInARow:
    def test_open_the_breaker_once(self):
        breaker = Breaker()
        assert [breaker.failed(100.0) for _ in range(5)] == [False, False, True, False, False]
        assert breaker.is_open
        assert breaker.since == 100.0

    def test_are_forgotten_by_one_answer(self):
        breaker = Breaker()
        breaker.failed(100.0)
        breaker.failed(100.0)
        assert breaker.answered() is False
        assert breaker.failed(101.0) is False
        assert not breaker.is_open


class TestAnOpenBreaker:
    def test_lets_one_caller_probe_at_a_time(self):
        breaker = opened(at=100.0)
        assert [breaker.may_probe(100.0), breaker.may_probe(100.0)] == [True, False]
        assert breaker.may_probe(100.0 + PROBE_INTERVAL - 0.01) is False
        assert breaker.may_probe(100.0 + PROBE_INTERVAL) is True

    def test_is_closed_by_an_answer(self):
        breaker = opened()
        assert breaker.answered() is True
        assert not breaker.is_open
        assert breaker.may_probe(999.0) is False
        assert breaker.answered() is False

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40))
    def test_is_open_exactly_after_enough_failures_without_an_answer(self, events):
        breaker, now, failures = Breaker(), 0.0, 0
        for is_failure, later in events:
            now += later
            if is_failure:
                breaker.failed(now)
                failures += 1
            else:
                breaker.answered()
                failures = 0
            assert breaker.is_open == (failures >= THRESHOLD)
