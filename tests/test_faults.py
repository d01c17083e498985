import pytest
import redis
import redis.sentinel

from django_redis_sessions.errors import (
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.faults import code_of, is_misleading, is_quotable, translated


class TestAnErrorOfRedisPy:
    @pytest.mark.parametrize(
        ("error", "kind", "message"),
        [
            (
                redis.TimeoutError("Timeout reading from socket"),
                SessionStoreUnavailable,
                "did not answer within 0.25 s",
            ),
            (
                redis.ConnectionError("Error 111 connecting."),
                SessionStoreUnavailable,
                "cannot be reached: Error 111",
            ),
            (redis.BusyLoadingError("Redis is loading"), SessionStoreUnavailable, "still loading its data"),
            (redis.AuthenticationError("wrong"), SessionStoreMisconfigured, "user name or password"),
            (
                redis.ResponseError("NOAUTH Authentication required."),
                SessionStoreMisconfigured,
                "user name or password",
            ),
            (redis.ResponseError("WRONGPASS invalid"), SessionStoreMisconfigured, "user name or password"),
            (redis.exceptions.NoPermissionError("key 'x'"), SessionStoreMisconfigured, "does not permit"),
            (
                redis.exceptions.OutOfMemoryError("command not allowed"),
                SessionStoreRefused,
                "OOM",
            ),
            (redis.ReadOnlyError("You can't write"), SessionStoreUnavailable, "is a replica, not a primary"),
            (redis.ResponseError("MISCONF Redis is configured"), SessionStoreRefused, "with MISCONF."),
            (
                redis.ResponseError("unknown command 'session:secret'"),
                SessionStoreRefused,
                "with ResponseError.",
            ),
        ],
    )
    def test_means_one_of_ours_with_the_address(self, error, kind, message):
        meant = translated(error, "localhost:6379", 0.25)
        assert type(meant) is kind
        assert message in str(meant)
        assert "localhost:6379" in str(meant)
        assert meant.address == "localhost:6379"
        assert "secret" not in str(meant)

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            (
                "ERR Error running script (call to f_6f): @user_script:7: @user_script: 7: -READONLY You can't write",
                "READONLY",
            ),
            (
                "Error running script (call to f_6f): @user_script:7: -OOM command not allowed when used memory",
                "OOM",
            ),
            (
                "Error running script (call to f_6f): @user_script:7: -LOADING Redis is loading the dataset",
                "LOADING",
            ),
            ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "BUSY"),
            ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ],
    )
    def test_is_recognised_inside_a_scripts_error(self, text, code):
        """Redis before 7 hides what a script met behind a plain ERR."""
        assert code_of(redis.ResponseError(text)) == code

    @pytest.mark.parametrize("text", ["READONLY x", "LOADING x", "MASTERDOWN x"])
    def test_can_mean_that_another_connection_leads_elsewhere(self, text):
        assert is_misleading(redis.ResponseError(text))
        assert not is_misleading(redis.ResponseError("OOM x"))

    def test_that_wraps_a_time_out_is_a_time_out(self):
        error = redis.ConnectionError("Timeout reading")
        error.__cause__ = redis.TimeoutError("Timeout reading")
        assert "did not answer within" in str(translated(error, "localhost:6379", 1.0))

    def test_that_shows_a_password_is_not_quoted(self):
        """redis-py 6.4 prints whole clients when no sentinel lets it in."""
        error = redis.sentinel.MasterNotFoundError(
            "No master found for 'sessions' : Redis<ConnectionPool<Connection(password=hunter2)>> - TimeoutError()"
        )
        assert not is_quotable(error)
        meant = translated(error, "sessions@localhost:26379", 1.0)
        assert isinstance(meant, SessionStoreUnavailable)
        assert "hunter2" not in str(meant)

    def test_of_the_sentinels_password_is_a_misconfiguration(self):
        error = redis.sentinel.MasterNotFoundError("No master found : <...> - AuthenticationError('invalid')")
        assert isinstance(translated(error, "sessions@localhost:26379", 1.0), SessionStoreMisconfigured)
