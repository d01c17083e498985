import pytest
import redis
from redis.exceptions import InvalidResponse

from django_redis_sessions.attempts import Attempts, Verdict

CLOSED = redis.ConnectionError("Connection closed by server.")
LATE = redis.TimeoutError("Timeout")
DEMOTED = redis.ReadOnlyError("You can't write against a read only replica.")
UNKNOWN = redis.ResponseError("unknown command")
DENIED = redis.AuthenticationError("Authentication required.")


class TestAConnectionThatWasClosedWhileItLayIdle:
    def test_says_nothing_about_the_server(self):
        verdict = Attempts(retries=0).judge(CLOSED, is_fresh=False)
        assert verdict == Verdict(drops_others=True, again=True)

    def test_twice_is_no_accident(self):
        attempts = Attempts(retries=0)
        attempts.judge(CLOSED, is_fresh=False)
        assert attempts.judge(CLOSED, is_fresh=False) == Verdict(
            is_failure=True, drops_others=True, again=False
        )


class TestAFailure:
    @pytest.mark.parametrize(
        ("error", "is_fresh"), [(CLOSED, True), (LATE, True), (LATE, False)], ids=["closed", "new", "late"]
    )
    def test_is_forgiven_as_often_as_retries_say(self, error, is_fresh):
        attempts = Attempts(retries=2)
        verdicts = [attempts.judge(error, is_fresh) for _ in range(3)]
        assert [verdict.again for verdict in verdicts] == [True, True, False]
        assert all(verdict.is_failure and not verdict.keeps for verdict in verdicts)

    def test_by_lateness_leaves_the_other_connections_alone(self):
        assert not Attempts(retries=1).judge(LATE, is_fresh=False).drops_others


class TestAnAnswer:
    def test_that_refuses_leaves_the_connection_in_order(self):
        assert Attempts(retries=3).judge(UNKNOWN, is_fresh=False) == Verdict(is_answer=True, keeps=True)

    def test_that_will_be_the_same_again_is_not_asked_for_again(self):
        assert Attempts(retries=3).judge(DENIED, is_fresh=True) == Verdict(is_answer=True)

    def test_of_a_server_that_was_demoted_sends_everybody_elsewhere(self):
        attempts = Attempts(retries=1)
        assert attempts.judge(DEMOTED, is_fresh=False) == Verdict(
            is_answer=True, drops_others=True, again=True
        )
        assert not attempts.judge(DEMOTED, is_fresh=False).again

    def test_that_is_no_redis_ends_the_connection(self):
        assert Attempts(retries=3).judge(InvalidResponse("Protocol error"), is_fresh=True) == Verdict()
