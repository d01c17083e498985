"""What can an operator see of the stored sessions, and do with them?

The functions behind ``manage.py redis_sessions``, for use from Python too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Any

from django_redis_sessions import census, conf, operations
from django_redis_sessions.executors import arun, run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import Operation, Progress


@dataclass(frozen=True, slots=True)
class Statistics:
    """The stored sessions in figures, and the server they are on; see ``as_dict()`` for units."""

    census: census.Census
    server: dict[str, Any]
    #: All keys of the database, of whatever kind; None where the server does not say.
    keys_in_database: int | None
    #: Whether the census stopped before it had seen every session.
    sampled: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; sizes and memory in bytes."""
        return {
            **self.census.summary(),
            "sampled": self.sampled,
            "keys_in_database": self.keys_in_database,
            "server": self.server,
        }


def statistics(sample: int | None = None, progress: Callable[[Progress], object] = bool) -> Statistics:
    """Figures about all sessions, or about some ``sample`` of them.

    Two round trips for every 500 keys in the database, none of them long for the server. Raises
    ``SessionStoreError``. ``progress`` is called after each page.
    """
    return run(conf.store().connections.client(), _statistics(sample, progress))


async def astatistics(sample: int | None = None, progress: Callable[[Progress], object] = bool) -> Statistics:
    """Async twin of ``statistics()``."""
    return await arun(conf.store().connections.async_client(), _statistics(sample, progress))


def purge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> int:
    """End every session that meets all given conditions (all sessions, if none is given); their number.

    ``user`` is a user's primary key, durations are in seconds: ``older_than`` since the sign-in,
    ``idle`` since its life was last extended. Three round trips for every 500 keys in the database. May be
    stopped and repeated at any time. ``progress`` is called after each page.
    """
    operation = _purge(anonymous, user, older_than, idle, dry_run, progress)
    return run(conf.store().connections.client(), operation)


async def apurge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> int:
    """Async twin of ``purge()``."""
    operation = _purge(anonymous, user, older_than, idle, dry_run, progress)
    return await arun(conf.store().connections.async_client(), operation)


def _statistics(sample: int | None, progress: Callable[[Progress], object]) -> Operation[Statistics]:
    info = yield from operations.server_info()
    counted = yield from operations.survey(
        conf.store().keys, census.Census(), limit=sample, progress=progress
    )
    return Statistics(
        census=counted,
        server=census.server_facts(info),
        keys_in_database=int(info["dbsize"]) if "dbsize" in info else None,
        sampled=not counted.is_complete,
    )


def _purge(
    anonymous: bool,
    user: object,
    older_than: float | None,
    idle: float | None,
    dry_run: bool,
    progress: Callable[[Progress], object],
) -> Operation[int]:
    wanted = census.matching(
        now=time(),
        anonymous=anonymous,
        user=None if user is None else user_marker(str(user)),
        older_than=older_than,
        idle=idle,
    )
    return operations.purge(conf.store().keys, wanted, dry_run=dry_run, progress=progress)
