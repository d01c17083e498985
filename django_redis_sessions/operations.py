"""What is said to Redis for each thing a session store does?

Every function here is a generator: it yields a command (a tuple) or several that may share one
round trip (a list of tuples), is sent the reply (a list of replies), and returns what the reply
means. Errors from Redis are thrown into it. Nothing here waits; ``executors`` does.

An implausible session key is an unknown session and is answered without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from django_redis_sessions.census import Census, Sighting
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.keys import Keys, is_plausible
from django_redis_sessions.records import LONGEST_HEADER, Header, header_of

T = TypeVar("T")
Command = tuple[str | bytes | int, ...]
Operation = Generator[Command | list[Command], Any, T]

#: Two random session keys never meet; after so many collisions something else is wrong.
CREATE_ATTEMPTS = 5
#: How many keys one SCAN looks at: well under a millisecond of the server's time.
PAGE = 500


def read(keys: Keys, session_key: str | None) -> Operation[bytes | None]:
    """The session's record, or None when there is none. One round trip."""
    if session_key is None or not is_plausible(session_key):
        return None
    record: bytes | None = yield ("GET", keys.record(session_key))
    return record


def exists(keys: Keys, session_key: str | None) -> Operation[bool]:
    """Whether a session has a record. One round trip."""
    if session_key is None or not is_plausible(session_key):
        return False
    reply = yield ("EXISTS", keys.record(session_key))
    return bool(reply)


def delete(keys: Keys, session_key: str | None) -> Operation[bool]:
    """End a session; False when it was gone already. One round trip, safe to repeat."""
    if session_key is None or not is_plausible(session_key):
        return False
    reply = yield ("UNLINK", keys.record(session_key))
    return bool(reply)


def create(keys: Keys, session_key: str, record: bytes, ttl: int | None) -> Operation[bool]:
    """Store a new session's record; False when its key is taken. One round trip.

    A ttl of None is a life that is over already: nothing is stored, but a taken key is still
    reported, as Django's contract has it.
    """
    if not is_plausible(session_key):
        return False
    if ttl is None:
        taken = yield from exists(keys, session_key)
        return not taken
    reply = yield ("SET", keys.record(session_key), record, "NX", "EX", ttl)
    return bool(reply)


def create_under_new_key(
    keys: Keys, new_session_key: Callable[[], str], record: bytes, ttl: int | None
) -> Operation[str | None]:
    """Store a record under a session key nobody has; the key, or None after too many collisions."""
    for _ in range(CREATE_ATTEMPTS):
        session_key = new_session_key()
        if (yield from create(keys, session_key, record, ttl)):
            return session_key
    return None


def replace(keys: Keys, session_key: str, record: bytes, ttl: int | None) -> Operation[bool]:
    """Overwrite a live record and restart its ttl; False when the session is gone. One round trip.

    One command, so a logout cannot slip in between a look and a write. A ttl of None is a life
    that is over: the record goes.
    """
    if ttl is None:
        return (yield from delete(keys, session_key))
    if not is_plausible(session_key):
        return False
    reply = yield ("SET", keys.record(session_key), record, "XX", "EX", ttl)
    return bool(reply)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: sessions seen and ended so far, and about which share (0 to 1) of the keys is done."""

    seen: int
    ended: int
    share: float


def page(keys: Keys, cursor: int) -> Operation[tuple[int, list[Sighting]]]:
    """The next cursor (0 at the end) and some sessions. Two round trips, no command longer than a page.

    As SCAN has it (https://redis.io/docs/latest/commands/scan/): whoever was there all the time is
    seen, and while Redis resizes its table a session can be seen twice.
    """
    next_cursor, found = yield (
        "SCAN",
        cursor,
        "MATCH",
        keys.records_pattern,
        "COUNT",
        PAGE,
        "TYPE",
        "string",
    )
    commands: list[Command] = []
    for name in found:
        commands += (
            ("GETRANGE", name, 0, LONGEST_HEADER - 1),
            ("TTL", name),
            ("STRLEN", name),
            ("MEMORY", "USAGE", name),
        )
    replies = (yield commands) if commands else []
    sightings = []
    for name, (start, ttl, size, memory) in zip(found, _by_four(replies), strict=True):
        # Gone since the SCAN: not a session any more. MEMORY may be forbidden by an ACL rule.
        if ttl != -2 and not isinstance(start, Exception):
            sightings.append(
                Sighting(name, _header_or_none(start), ttl, size, memory if isinstance(memory, int) else 0)
            )
    return int(next_cursor), sightings


def survey(
    keys: Keys, census: Census, *, limit: int | None = None, progress: Callable[[Progress], object] = bool
) -> Operation[Census]:
    """Count sessions into ``census``, all or about ``limit``; two round trips a page."""
    total = yield from _keys_in_database()
    cursor = looked_at = 0
    while True:
        cursor, sightings = yield from page(keys, cursor)
        for seen in sightings:
            census.add(seen)
        looked_at += PAGE
        progress(Progress(census.sessions, 0, min(1.0, looked_at / total) if cursor else 1.0))
        census.is_complete = not cursor
        if census.is_complete or (limit is not None and census.sessions >= limit):
            return census


def purge(
    keys: Keys,
    wanted: Callable[[Sighting], bool],
    *,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> Operation[int]:
    """End every session that is ``wanted`` and give their number; three round trips a page.

    Stopping half-way leaves the rest as it was.
    """
    total = yield from _keys_in_database()
    cursor = looked_at = sessions = ended = 0
    while True:
        cursor, sightings = yield from page(keys, cursor)
        doomed = [seen.record_key for seen in sightings if wanted(seen)]
        if doomed and not dry_run:
            # One key a command: on a cluster they live apart.
            replies = yield [("UNLINK", name) for name in doomed]
            ended += sum(map(_or_raise, replies))
        else:
            ended += len(doomed)
        sessions += len(sightings)
        looked_at += PAGE
        progress(Progress(sessions, ended, min(1.0, looked_at / total) if cursor else 1.0))
        if not cursor:
            return ended


def server_info() -> Operation[dict[str, str]]:
    """The server's INFO as text by name; ``{}`` where an ACL rule forbids it. One round trip."""
    replies = yield [("INFO",), ("DBSIZE",)]
    if isinstance(replies[0], Exception):
        return {}
    text = replies[0].decode(errors="replace") if isinstance(replies[0], bytes) else str(replies[0])
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if isinstance(replies[1], int):
        info["dbsize"] = str(replies[1])
    return info


def _keys_in_database() -> Operation[int]:
    """An upper bound for progress; 1 where an ACL rule forbids asking."""
    (reply,) = yield [("DBSIZE",)]
    return reply if isinstance(reply, int) and reply else 1


def _by_four(replies: list[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(replies)] * 4, strict=True)


def _header_or_none(start: bytes) -> Header | None:
    try:
        return header_of(start)
    except CorruptRecord:
        return None


def _or_raise(reply: Any) -> int:
    if isinstance(reply, Exception):
        raise reply
    return int(reply)
