import pytest
import redis

from django_redis_sessions.errors import (
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.faults import translated


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
                "OutOfMemoryError",
            ),
            (redis.ReadOnlyError("You can't write"), SessionStoreRefused, "ReadOnlyError"),
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

    def test_that_wraps_a_time_out_is_a_time_out(self):
        error = redis.ConnectionError("Timeout reading")
        error.__cause__ = redis.TimeoutError("Timeout reading")
        assert "did not answer within" in str(translated(error, "localhost:6379", 1.0))
