"""What do the stored sessions look like, one by one and as a whole?

Made from what a scan sees of each record without opening its body; memory does not grow with the
number of sessions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django_redis_sessions.records import Header

HOUR, DAY = 3600, 86400
#: Inclusive upper bounds in seconds of the time-to-live histogram, and what each bar is called.
LIFE_BOUNDS = (HOUR, DAY, 7 * DAY, 14 * DAY, 30 * DAY)
LIFE_LABELS = (
    "up to 1 hour",
    "1 to 24 hours",
    "1 to 7 days",
    "7 to 14 days",
    "14 to 30 days",
    "over 30 days",
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One stored session as a scan sees it; sizes in bytes, ``ttl`` in seconds, ``header`` None if unreadable."""

    record_key: bytes
    header: Header | None
    ttl: int
    size: int
    memory: int

    def idle(self, now: float) -> float:
        """Seconds since its life was last extended, by a save or a touch."""
        return 0.0 if self.header is None else max(0.0, now - self.header.touched)

    def age(self, now: float) -> float:
        """Seconds since its sign-in, or since it began if nobody signed in."""
        return 0.0 if self.header is None else max(0.0, now - self.header.created)


@dataclass(slots=True)
class Census:
    """Totals over all sightings that were ``add``-ed; ``is_complete`` once every session was seen."""

    sessions: int = 0
    anonymous: int = 0
    unreadable: int = 0
    without_ttl: int = 0
    memory: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    lives: list[int] = field(default_factory=lambda: [0] * len(LIFE_LABELS))
    is_complete: bool = False

    def add(self, seen: Sighting) -> None:
        """Count one session."""
        self.sessions += 1
        self.memory += seen.memory
        self.sizes[seen.size] += 1
        if seen.header is None:
            self.unreadable += 1
        elif seen.header.is_anonymous:
            self.anonymous += 1
        if seen.ttl < 0:
            self.without_ttl += 1
        else:
            self.lives[bisect_left(LIFE_BOUNDS, seen.ttl)] += 1

    @property
    def logged_in(self) -> int:
        """Sessions that belong to a user."""
        return self.sessions - self.anonymous - self.unreadable

    def size_at(self, share: float) -> int:
        """The record size in bytes that ``share`` (0 to 1) of all sessions do not exceed; 0 without any."""
        rank = share * self.sessions
        counted = 0
        for size in sorted(self.sizes):
            counted += self.sizes[size]
            if counted >= rank:
                return size
        return 0

    def summary(self) -> dict[str, Any]:
        """All totals as plain values, for ``--json``; sizes and memory in bytes."""
        return {
            "sessions": self.sessions,
            "logged_in": self.logged_in,
            "anonymous": self.anonymous,
            "unreadable": self.unreadable,
            "without_ttl": self.without_ttl,
            "memory": self.memory,
            "size": {"p50": self.size_at(0.5), "p95": self.size_at(0.95), "max": self.size_at(1.0)},
            "time_to_live": dict(zip(LIFE_LABELS, self.lives, strict=True)),
        }


def matching(
    *,
    now: float,
    anonymous: bool = False,
    user: bytes | None = None,
    older_than: float | None = None,
    idle: float | None = None,
) -> Callable[[Sighting], bool]:
    """A test for sessions that meet every given condition; with none given, every session does.

    ``user`` is a marker (``keys.user_marker``), durations are in seconds. An unreadable record
    meets no condition.
    """

    def wanted(seen: Sighting) -> bool:
        if not (anonymous or user or older_than is not None or idle is not None):
            return True
        header = seen.header
        return (
            header is not None
            and (not anonymous or header.is_anonymous)
            and (user is None or header.user == user)
            and (older_than is None or seen.age(now) >= older_than)
            and (idle is None or seen.idle(now) >= idle)
        )

    return wanted


def server_facts(infos: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What an operator asks first about the servers, from each master's INFO; memory in bytes, 0 = no limit.

    Memory is that of all masters together; name, version and policy are the first one's.
    """
    info = next(filter(None, infos), {})
    name = info.get("server_name") or "redis"
    return {
        "server": name,
        "version": info.get(f"{name}_version") or info.get("redis_version", "unknown"),
        "masters": len(infos),
        "used_memory": sum(int(each.get("used_memory", 0)) for each in infos),
        "maxmemory": sum(int(each.get("maxmemory", 0)) for each in infos),
        "eviction_policy": info.get("maxmemory_policy", "unknown"),
    }
