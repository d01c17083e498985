"""Connections that are lost on the way, at a place that a test chooses."""

from __future__ import annotations

from typing import Any

import pytest

from django_redis_sessions import executors, footing
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.errors import SessionStoreUnavailable


def interrupt_blocking(
    patch: pytest.MonkeyPatch,
    after: int,
    times: int = 2,
    *,
    is_said: bool = False,
    is_restarted: bool = False,
) -> list[float]:
    """So many blocking round trips fail, from one on; gives the list of pauses, which take no time.

    ``is_said`` if only the answers are lost, ``is_restarted`` if another process answers after each failure.
    """
    execute, count, lost = BlockingClient.execute, 0, 0
    rests: list[float] = []

    def failing(self: BlockingClient, command: Any) -> Any:
        nonlocal count, lost
        count += 1
        is_lost = after < count <= after + times
        if is_said or not is_lost:
            reply = execute(self, command)
        if is_lost:
            lost += 1
            raise SessionStoreUnavailable("Redis is away.")
        return reply

    patch.setattr(BlockingClient, "execute", failing)
    patch.setattr(executors, "sleep", rests.append)
    if is_restarted:
        patch.setattr(footing, "_run_id_in", lambda reply: f"{lost:012x}")
    return rests
