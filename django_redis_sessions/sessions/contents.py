"""What takes the room inside of sessions?

The names under which applications keep something, and what that takes as it is encoded, before it is
compressed. Records have to be opened for it, so it is told from a sample; no value is kept or shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django_redis_sessions import conf, regions, walks
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.operations import Operation
from django_redis_sessions.sessions.shown import data_in
from django_redis_sessions.walks import Progress

#: So many names are told, of which the rest is mostly numbers of something.
MOST_NAMES = 20
#: Characters of a name that are kept.
LONGEST_NAME = 60
#: So many sessions are read, and so many a second, unless said otherwise.
USUAL_SAMPLE, USUAL_RATE = 1000, 5000


@dataclass(slots=True)
class Contents:
    """What was found in some sessions; bytes are those of the encoded values, before compression."""

    sessions: int = 0
    unreadable: int = 0
    bytes: int = 0
    held_by: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    longest: dict[str, int] = field(default_factory=dict)

    def add(self, data: dict[str, Any] | None, length_of: Callable[[Any], int]) -> None:
        """Count what one session holds; None if it cannot be read."""
        self.sessions += 1
        if data is None:
            self.unreadable += 1
            return
        for key, value in data.items():
            name, length = str(key)[:LONGEST_NAME], length_of(value)
            self.bytes += length
            self.held_by[name] += 1
            self.taken[name] += length
            self.longest[name] = max(length, self.longest.get(name, 0))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the names that take the most first."""
        return {
            "sessions": self.sessions,
            "unreadable": self.unreadable,
            "bytes": self.bytes,
            "names": [
                {"name": name, "sessions": self.held_by[name], "bytes": taken, "largest": self.longest[name]}
                for name, taken in self.taken.most_common(MOST_NAMES)
            ],
        }


def contents(
    sample: int = USUAL_SAMPLE,
    *,
    rate: float = USUAL_RATE,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> Contents:
    """What ``sample`` sessions hold under which names; reads at most ``rate`` of them a second.

    One round trip for each 500 keys of the database that are looked at, and one for each 100 sessions.
    Records of more than 64 kB are left out. ``patience`` as in ``purge()``.
    """
    found = Contents()
    regions.in_turn(partial(_reading, found, sample, rate, progress, patience)).all()
    return found


async def acontents(
    sample: int = USUAL_SAMPLE,
    *,
    rate: float = USUAL_RATE,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> Contents:
    """Async twin of ``contents()``."""
    found = Contents()
    (await regions.ain_turn(partial(_reading, found, sample, rate, progress, patience))).all()
    return found


def _reading(
    found: Contents, sample: int, rate: float, progress: Callable[[Progress], object], patience: float
) -> Operation[None]:
    empty = _length(None) - len("null")

    def take(name: str, record: bytes) -> bool:
        found.add(data_in(name, record), lambda value: _length(value) - empty)
        return True

    def of_node(masters_left: int) -> Operation[int]:
        limit = -(-max(0, sample - found.sessions) // masters_left)
        return walks.sample(
            conf.store().keys, take, limit=limit, rate=rate, progress=progress, patience=patience
        )

    yield from walks.everywhere(of_node)


def _length(value: Any) -> int:
    return len(SessionStore()._dumps({"": value}))
