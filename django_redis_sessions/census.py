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

from django_redis_sessions.records import header_of, owner_of

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


@dataclass(slots=True)
class Census:
    """Totals over all sessions that were counted; ``is_complete`` once every one was seen."""

    sessions: int = 0
    anonymous: int = 0
    unreadable: int = 0
    without_ttl: int = 0
    #: For how many of them the server said what they take.
    measured: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    lives: list[int] = field(default_factory=lambda: [0] * len(LIFE_LABELS))
    is_complete: bool = False
    _bytes: int = 0
    _overhead: int = 0

    def count(self, owners: Sequence[bytes | None], ttls: Sequence[int]) -> None:
        """Count sessions by the user marker in each (``records.owner_of``) and the seconds each has left."""
        self.sessions += len(owners)
        self.anonymous += owners.count(b"")
        self.unreadable += owners.count(None)
        for ttl in ttls:
            if ttl < 0:
                self.without_ttl += 1
            else:
                self.lives[bisect_left(LIFE_BOUNDS, ttl)] += 1

    def weigh(self, size: int, memory: int | None) -> None:
        """Note the size of a session that was counted, and what it takes in Redis if the server has said so."""
        self.sizes[size] += 1
        self._bytes += size
        if memory is not None:
            self.measured += 1
            self._overhead += memory - size

    @property
    def logged_in(self) -> int:
        """Sessions that belong to a user."""
        return self.sessions - self.anonymous - self.unreadable

    @property
    def memory(self) -> int:
        """Bytes that all of them take in Redis; 0 where the server did not say for any.

        Exact if all were measured; else every other one is taken for its size and what measured
        ones take beyond theirs on average.
        """
        return self._bytes + round(self._overhead * self.sessions / self.measured) if self.measured else 0

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
            "memory_measured": self.measured,
            "size": {"p50": self.size_at(0.5), "p95": self.size_at(0.95), "max": self.size_at(1.0)},
            "time_to_live": dict(zip(LIFE_LABELS, self.lives, strict=True)),
        }


def everything(start: bytes) -> bool:
    """The test that every session meets; there is no need to look at one first."""
    return True


def matching(
    *,
    now: float,
    anonymous: bool = False,
    user: bytes | None = None,
    older_than: float | None = None,
    idle: float | None = None,
) -> Callable[[bytes], bool]:
    """A test of the first bytes of a record for meeting every given condition; ``everything`` if none is given.

    ``user`` is a marker (``keys.user_marker``), durations are in seconds: ``older_than`` since the
    sign-in, or since it began if nobody signed in, ``idle`` since its life was last extended. An
    unreadable record meets no condition.
    """
    if not (anonymous or user or older_than is not None or idle is not None):
        return everything

    def wanted(start: bytes) -> bool:
        # The owner first: it is found in a fifth of the time that a whole header takes.
        owner = owner_of(start)
        if owner is None or (anonymous and owner) or (user is not None and owner != user):
            return False
        if older_than is None and idle is None:
            return True
        header = header_of(start)
        # Clocks may differ: a time to come counts as now.
        return (older_than is None or max(0.0, now - header.created) >= older_than) and (
            idle is None or max(0.0, now - header.touched) >= idle
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
