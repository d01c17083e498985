"""What does an error from redis-py mean for a session?

Takes the error and the address it came from, gives one of this package's errors. Texts from the
server are quoted only where they cannot hold a key or an argument.
"""

from __future__ import annotations

import re

import redis
import redis.sentinel

from django_redis_sessions.errors import (
    SessionStoreError,
    SessionStoreMisconfigured,
    SessionStoreRefused,
    SessionStoreUnavailable,
    UnknownScript,
)

_NOT_NOW = "Sessions cannot be read or written now."

# redis-py strips the code word from errors that it has a class for.
_CODES: dict[type[redis.RedisError], str] = {
    redis.AuthenticationError: "NOAUTH",
    redis.BusyLoadingError: "LOADING",
    redis.ReadOnlyError: "READONLY",
    redis.exceptions.AuthenticationWrongNumberOfArgsError: "WRONGPASS",
    redis.exceptions.AuthorizationError: "NOPERM",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.NoScriptError: "NOSCRIPT",
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.TryAgainError: "TRYAGAIN",
}

# What passes by itself, and what it means.
_PASSING = {
    "BUSY": "is busy with somebody's script",
    "CLUSTERDOWN": "belongs to a cluster that is down",
    "LOADING": "is still loading its data",
    "MASTERDOWN": "is a replica that has lost its primary",
    "NOREPLICAS": "has too few replicas to accept writes",
    "READONLY": "is a replica, not a primary any more",
    "TRYAGAIN": "is moving the session to another server",
}
_CREDENTIALS = frozenset({"NOAUTH", "WRONGPASS"})
#: After these the connection leads to the wrong server, or to one that is not ready.
_MISLEADING = frozenset({"LOADING", "MASTERDOWN", "READONLY"})

# Redis before 7 wraps what a script meets: "ERR Error running script (...): @user_script:7: -READONLY You can't".
_HIDDEN = re.compile(r"^(?:ERR )?Error running script.*?[-@ ](?P<code>OOM|" + "|".join(_PASSING) + r")\b")


# What a script meets that the user may not do, in the words of Redis 6, Redis 7 and Valkey.
_NOT_PERMITTED = re.compile(r"can't run this command or subcommand|No permissions to|ACL failure in script")


def code_of(error: redis.RedisError) -> str:
    """The server's code word, such as ``OOM``, also where an old server hides it inside a script's error."""
    # What goes wrong in the handshake comes wrapped from redis-py's asynchronous side.
    if isinstance(error.__cause__, redis.RedisError):
        error = error.__cause__
    text = str(error)
    if isinstance(error, redis.sentinel.MasterNotFoundError) and "AuthenticationError" in text:
        return "NOAUTH"  # of the sentinels
    if _NOT_PERMITTED.search(text):
        return "NOPERM"
    if hidden := _HIDDEN.search(text):
        return hidden["code"]
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    word = text.partition(" ")[0]
    return word if word.isupper() and word.isalnum() else type(error).__name__


def is_final(error: redis.RedisError) -> bool:
    """Whether the server has answered, and will answer the same again: a wrong password stays wrong."""
    return code_of(error) in _CREDENTIALS | {"NOPERM"}


def is_misleading(error: redis.RedisError) -> bool:
    """Whether another connection may lead to a server that can do better."""
    return code_of(error) in _MISLEADING


def is_quotable(error: redis.RedisError) -> bool:
    """Whether an error's text may be shown; redis-py puts whole clients into some, passwords and all."""
    return "<" not in str(error) and "password=" not in str(error)


def translated(error: redis.RedisError, address: str, timeout: float) -> SessionStoreError:
    """The error of ours that ``error`` stands for; ``timeout`` is the one that was in force, in seconds."""
    code = code_of(error)
    if code in _PASSING:
        return SessionStoreUnavailable(f"Redis at {address} {_PASSING[code]}. {_NOT_NOW}", address=address)
    # What times out while connecting comes wrapped from redis-py's asynchronous side.
    if isinstance(error, redis.TimeoutError) or isinstance(
        error.__cause__, (redis.TimeoutError, TimeoutError)
    ):
        return SessionStoreUnavailable(
            f"Redis at {address} did not answer within {timeout:g} s. {_NOT_NOW} "
            f"Look at the server, or raise SESSION_REDIS['TIMEOUT'].",
            address=address,
        )
    if code in _CREDENTIALS:
        return SessionStoreMisconfigured(
            f"Redis at {address} does not accept the user name or password. "
            f"Check those in SESSION_REDIS['URL'] or ['OPTIONS'].",
            address=address,
        )
    if code == "NOPERM":
        return SessionStoreMisconfigured(
            f"Redis at {address} knows the user but does not permit what sessions need. Check the user's ACL rule.",
            address=address,
        )
    if code == "NOSCRIPT":
        return UnknownScript(f"Redis at {address} does not know the script yet.", address=address)
    if isinstance(error, redis.ConnectionError):
        reason = str(error).rstrip(".") if is_quotable(error) else type(error).__name__
        return SessionStoreUnavailable(
            f"Redis at {address} cannot be reached: {reason}. {_NOT_NOW}", address=address
        )
    remedy = " Its memory is full: raise maxmemory, or purge sessions." if code == "OOM" else ""
    return SessionStoreRefused(
        f"Redis at {address} refused the command with {code}. Nothing was read or written.{remedy}",
        address=address,
    )
