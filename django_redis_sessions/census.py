"""What do the stored sessions look like, one by one and as a whole?

Made from what a scan sees of each record without opening its body; memory does not grow with the
number of sessions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from django_redis_sessions.protection import ID_LENGTH, NAMES
from django_redis_sessions.records import JSON, KEY_ID_OFFSET, KIND_LENGTH, VERSION, header_of, owner_of

HOUR, DAY = 3600, 86400
_OURS = bytes([VERSION])
_kind_of = itemgetter(slice(KIND_LENGTH))
#: So many of the largest sessions are named.
LARGEST = 10
#: What the header's byte for compression is called.
COMPRESSION_NAMES = {0: "none", 1: "deflate", 2: "deflate, hash apart"}
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
    #: How many records begin with which five bytes: format, serializer, compression, dictionary, protection; the
    #: id of the key follows if they are protected.
    kinds: Counter[bytes] = field(default_factory=Counter)
    #: The sizes of the ``LARGEST`` sessions, by their Redis keys.
    largest: dict[bytes, int] = field(default_factory=dict)
    _bytes: int = 0
    _overhead: int = 0
    # What the smallest of the largest takes, once there are enough of them.
    _floor: int = 0

    def count(
        self, owners: Sequence[bytes | None], ttls: Sequence[int], starts: Sequence[bytes] = ()
    ) -> None:
        """Count sessions by the user marker in each (``records.owner_of``) and the seconds each has left.

        ``starts`` are the first bytes of their records.
        """
        self.sessions += len(owners)
        self.anonymous += owners.count(b"")
        self.unreadable += owners.count(None)
        for kind, count in Counter(map(_kind_of, starts)).items():
            # What is no record of ours could begin with anything.
            if kind[:1] == _OURS and len(kind) == KIND_LENGTH:
                if kind[-1]:
                    self._count_keys(kind, starts)
                else:
                    self.kinds[kind] += count
        for ttl in ttls:
            if ttl < 0:
                self.without_ttl += 1
            else:
                self.lives[bisect_left(LIFE_BOUNDS, ttl)] += 1

    def _count_keys(self, kind: bytes, starts: Sequence[bytes]) -> None:
        ids = Counter(
            start[KEY_ID_OFFSET : KEY_ID_OFFSET + ID_LENGTH] for start in starts if start.startswith(kind)
        )
        for key_id, count in ids.items():
            self.kinds[kind + key_id] += count

    def weigh(self, size: int, memory: int | None, name: bytes = b"") -> None:
        """Note the size of a session that was counted, and what it takes in Redis if the server has said so."""
        self.sizes[size] += 1
        self._bytes += size
        if size > self._floor:
            self._rank(name, size)
        if memory is not None:
            self.measured += 1
            self._overhead += memory - size

    def _rank(self, name: bytes, size: int) -> None:
        # By name, since a scan may come past a session twice.
        self.largest[name] = size
        if len(self.largest) > LARGEST:
            del self.largest[min(self.largest, key=self.largest.__getitem__)]
        if len(self.largest) == LARGEST:
            self._floor = min(self.largest.values())

    @property
    def protections(self) -> Counter[tuple[int, bytes]]:
        """How many records say that they are protected how, with the key of which id; empty: with none."""
        found: Counter[tuple[int, bytes]] = Counter()
        for kind, count in self.kinds.items():
            found[kind[KIND_LENGTH - 1], kind[KIND_LENGTH:]] += count
        return found

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
            "codecs": [
                {**codec, "sessions": count}
                for codec, count in ((_codec(kind), count) for kind, count in self.kinds.most_common())
            ],
        }


def _codec(kind: bytes) -> dict[str, Any]:
    form, serializer, compression, dictionary, protection = kind[:KIND_LENGTH]
    return {
        "format": form,
        "serializer": "json" if serializer == JSON else str(serializer),
        "compression": COMPRESSION_NAMES.get(compression, str(compression)),
        "dictionary": dictionary,
        "protection": NAMES.get(protection, str(protection)),
        "key": kind[KIND_LENGTH:].hex(),
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

    Memory and counters are those of all masters together, since each was started; name, version and policy
    are the first one's. What servers do not say is 0 or None.
    """
    info = next(filter(None, infos), {})
    name = info.get("server_name") or "redis"
    return {
        "server": name,
        "version": info.get(f"{name}_version") or info.get("redis_version", "unknown"),
        "masters": len(infos),
        "used_memory": _sum(infos, "used_memory"),
        "maxmemory": _sum(infos, "maxmemory"),
        "eviction_policy": info.get("maxmemory_policy", "unknown"),
        "commands": _sum(infos, "total_commands_processed"),
        "evicted": _sum(infos, "evicted_keys"),
        "expired": _sum(infos, "expired_keys"),
        "replication": _replication(infos),
        "persistence": _persistence(infos),
    }


def _sum(infos: Sequence[Mapping[str, str]], name: str) -> int:
    return sum(int(info.get(name, 0)) for info in infos)


def _replication(infos: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """``lag`` is the seconds since the replica that was heard longest ago; None without replicas."""
    replicas = [
        dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
        for info in infos
        for name, value in info.items()
        if name.startswith("slave") and name[5:].isdecimal()
    ]
    lags = [int(replica["lag"]) for replica in replicas if replica.get("lag", "").isdecimal()]
    return {
        "replicas": len(replicas),
        "online": sum(replica.get("state") == "online" for replica in replicas),
        "lag": max(lags, default=None),
    }


def _persistence(infos: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Whether every master appends to a file, and whether no write to a disk has failed; when the oldest
    snapshot was made, in seconds since 1970, and the changes since the last ones."""
    known = [info for info in infos if "rdb_last_save_time" in info]
    states = [
        info.get(name, "ok")
        for info in known
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
    ]
    return {
        "aof": all(info.get("aof_enabled") == "1" for info in known) if known else None,
        "ok": all(state == "ok" for state in states) if known else None,
        "last_save": min((int(info["rdb_last_save_time"]) for info in known), default=None),
        "changes_since_save": _sum(infos, "rdb_changes_since_last_save"),
    }
