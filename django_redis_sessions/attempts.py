"""What follows from a failed attempt: for its connection, for the others, for the caller?

Every command this package sends may be repeated without harm, so a connection that turns out to
be closed is replaced at once, and ``RETRIES`` more attempts follow a failure. No input or output.
"""

from __future__ import annotations

from dataclasses import dataclass

import redis

from django_redis_sessions import faults

_LOST = (redis.ConnectionError, redis.TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do after an error."""

    #: The server has answered, if with an error.
    is_answer: bool = False
    #: It speaks against the server.
    is_failure: bool = False
    #: The connection may be used again; otherwise nobody may ever read from it.
    keeps: bool = False
    #: Other connections made before this error lead nowhere either.
    drops_others: bool = False
    #: Try again, over another connection.
    again: bool = False


class Attempts:
    """What one command has met so far; ``retries`` failures are forgiven."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._failures = 0
        self._was_lost = False

    def judge(self, error: redis.RedisError, is_fresh: bool) -> Verdict:
        """Judge an attempt that ended with ``error``; ``is_fresh``: its connection had never answered before."""
        if isinstance(error, _LOST):
            if faults.is_final(error):
                return Verdict(is_answer=True)
            is_timeout = isinstance(error, redis.TimeoutError)
            # A connection that was closed while it lay idle says nothing about the server; twice is no accident.
            is_failure = is_fresh or is_timeout or self._was_lost
            self._was_lost = True
            self._failures += is_failure
            return Verdict(is_failure=is_failure, drops_others=not is_timeout, again=self._may_go_on)
        if not isinstance(error, redis.ResponseError):
            return Verdict()
        if not faults.is_misleading(error):
            return Verdict(is_answer=True, keeps=True)
        self._failures += 1
        return Verdict(is_answer=True, drops_others=True, again=self._may_go_on)

    @property
    def _may_go_on(self) -> bool:
        return self._failures <= self._retries
