"""What does an error from redis-py mean for a session?

Takes the error and the address it came from, gives one of this package's errors. Texts from the
server are quoted only where they cannot hold a key or an argument.
"""

from __future__ import annotations

import redis

from django_redis_sessions.errors import (
    SessionStoreError,
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
    UnknownScript,
)

_NOT_NOW = "Sessions cannot be read or written now."


def translated(error: redis.RedisError, address: str, timeout: float) -> SessionStoreError:
    """The error of ours that ``error`` stands for; ``timeout`` is the one that was in force, in seconds."""
    # What times out while connecting comes wrapped from redis-py's asynchronous side.
    if isinstance(error, redis.TimeoutError) or isinstance(
        error.__cause__, (redis.TimeoutError, TimeoutError)
    ):
        return SessionStoreUnavailable(
            f"Redis at {address} did not answer within {timeout:g} s. {_NOT_NOW} "
            f"Look at the server, or raise SESSION_REDIS['TIMEOUT'].",
            address=address,
        )
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)) or _code(
        error
    ) in (
        "NOAUTH",
        "WRONGPASS",
    ):
        return SessionStoreMisconfigured(
            f"Redis at {address} does not accept the user name or password. "
            f"Check those in SESSION_REDIS['URL'] or ['OPTIONS'].",
            address=address,
        )
    if isinstance(error, redis.exceptions.NoPermissionError):
        return SessionStoreMisconfigured(
            f"Redis at {address} knows the user but does not permit what sessions need. Check the user's ACL rule.",
            address=address,
        )
    if isinstance(error, redis.exceptions.NoScriptError):
        return UnknownScript(f"Redis at {address} does not know the script yet.", address=address)
    if isinstance(error, redis.BusyLoadingError):
        return SessionStoreUnavailable(
            f"Redis at {address} is still loading its data. {_NOT_NOW}", address=address
        )
    if isinstance(error, redis.ConnectionError):
        return SessionStoreUnavailable(
            f"Redis at {address} cannot be reached: {str(error).rstrip('.')}. {_NOT_NOW}",
            address=address,
        )
    return SessionStoreRefused(
        f"Redis at {address} refused the command with {_code(error)}. Nothing was read or written.",
        address=address,
    )


def _code(error: redis.RedisError) -> str:
    """The server's code word, such as ``OOM``.

    redis-py strips the word from errors that it has a class for, so the class's name serves there.
    """
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isalnum() else type(error).__name__
