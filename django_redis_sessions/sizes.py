"""How large may a session be, and what is said of one that is larger?

A record is measured as it is stored, compressed; what it inflates to has a limit of its own, so that a few
bytes from somebody who can write to Redis do not fill a process's memory. A save is held to both limits, so
that nothing is ever stored that a load would refuse.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_redis_sessions.records import LARGEST_PAYLOAD

#: A session may inflate to so many times MAX_SIZE, and to so many bytes in any case: one that compresses as
#: well as that repeats itself.
GROWTH, SMALLEST_PAYLOAD_LIMIT = 16, 4 * 1024 * 1024
#: A record that takes this part of MAX_SIZE is worth a warning.
WARNED_FROM = 4
#: So many keys of a session that is too large are named, by so many characters of their names.
MOST_PARTS, LONGEST_NAME = 3, 60
# A record is no longer than its payload and this: the header, the owner, and what protects them.
_FRAME = 256
# So many sessions are remembered of which a warning was given.
_MOST_TOLD = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """What ``MAX_SIZE`` amounts to, in bytes, and of which sessions this process has warned."""

    limit: float = math.inf

    #: What a record's body may inflate to.
    largest_payload: int = field(init=False)
    #: From this size of a record on there is a warning.
    remarkable: float = field(init=False)
    #: A payload that is no larger needs no further look.
    harmless: float = field(init=False)
    _told: OrderedDict[str, None] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        payload = (
            LARGEST_PAYLOAD
            if math.isinf(self.limit)
            else max(SMALLEST_PAYLOAD_LIMIT, GROWTH * int(self.limit))
        )
        object.__setattr__(self, "largest_payload", payload)
        object.__setattr__(self, "remarkable", self.limit / WARNED_FROM)
        object.__setattr__(self, "harmless", min(self.remarkable - _FRAME, payload))

    @classmethod
    def of(cls, max_size: int | None) -> Sizes:
        """For the setting, where None is no limit."""
        return cls(math.inf if max_size is None else max_size)

    def is_new(self, handle: str) -> bool:
        """Whether nothing was said of this session yet: it is said once, not with each save."""
        if handle in self._told:
            return False
        self._told[handle] = None
        if len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        return True


def largest_parts(data: Mapping[Any, Any], encoded: Callable[[Any], bytes]) -> list[tuple[str, int]]:
    """The keys that take the most, with the bytes of their values as the serializer makes them; no value."""
    sized = [(str(key)[:LONGEST_NAME], len(encoded(value))) for key, value in data.items()]
    return sorted(sized, key=lambda part: -part[1])[:MOST_PARTS]


def in_words(parts: list[tuple[str, int]]) -> str:
    """For a message: names of keys and bytes."""
    return ", ".join(f"{name!r} {size:,}" for name, size in parts)
