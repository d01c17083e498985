"""What is said to Redis for each thing a session store does?

Every function here is a generator: it yields a command (a tuple) or several that may share one
round trip (a list of tuples), is sent the reply (a list of replies), and returns what the reply
means. It may yield a ``Pause`` too. Errors from Redis are thrown into it. Nothing here waits; ``executors`` does.

An implausible session key is an unknown session and is answered without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from django_redis_sessions import records, scripts
from django_redis_sessions.census import Census, Sighting
from django_redis_sessions.errors import (
    CorruptRecord,
    SessionNotReplicated,
    SessionStoreError,
    UnknownScript,
)
from django_redis_sessions.keys import Keys, forwarded, forwarding_address, is_plausible
from django_redis_sessions.records import LONGEST_HEADER, Header, header_of
from django_redis_sessions.scripts import Script

T = TypeVar("T")
Command = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Yielded in place of a command: nothing is said to Redis for so many seconds."""

    seconds: float


Operation = Generator[Command | list[Command] | Pause, Any, T]

#: For how many seconds a session that has moved can be found under its old key.
FORWARDING_TTL = 10
#: How many keys one SCAN looks at: well under a millisecond of the server's time.
PAGE = 500


def read(keys: Keys, session_key: str | None) -> Operation[bytes | None]:
    """The session's record, or None when there is none. One round trip."""
    if session_key is None or not is_plausible(session_key):
        return None
    record: bytes | None = yield ("GET", keys.record(session_key))
    return record


def known(result: T) -> Operation[T]:
    """``result``, which somebody has fetched already. No round trip."""
    return result
    yield  # makes it an operation


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


def create(keys: Keys, session_key: str, record: bytes, ttl: int) -> Operation[bool]:
    """Store a new session's record; False when its key is taken. One round trip."""
    if not is_plausible(session_key):
        return False
    reply = yield ("SET", keys.record(session_key), record, "NX", "EX", ttl)
    return bool(reply)


class Outcome(Enum):
    """How a conditional write went, when it met nobody else's record."""

    DONE = 1
    GONE = 0
    TAKEN = -1


def replace(keys: Keys, session_key: str, record: bytes, header: Header) -> Operation[Outcome | bytes]:
    """Overwrite a live record, whatever it is, and restart its life; DONE or GONE. One round trip.

    One command, so a logout cannot slip in between a look and a write.
    """
    if not is_plausible(session_key):
        return Outcome.GONE
    reply = yield ("SET", keys.record(session_key), record, "XX", "EX", header.ttl)
    return Outcome.DONE if reply else Outcome.GONE


def save(
    keys: Keys, session_key: str, revision: bytes, record: bytes, header: Header
) -> Operation[Outcome | bytes]:
    """Replace a record of this ``revision`` and restart its life; DONE, GONE, or the record found instead.

    One round trip. ``header`` is the new record's.
    """
    life = records.life(header.touched, header.ttl)
    return (
        yield from _conditional(scripts.SAVE, [keys.record(session_key)], revision, record, life, header.ttl)
    )


def touch(keys: Keys, session_key: str, revision: bytes, header: Header) -> Operation[Outcome | bytes]:
    """Give a record of this ``revision`` the life in ``header``; DONE or GONE. One round trip, no payload.

    A record that somebody else has written meanwhile keeps the life it was written with.
    """
    return (yield from save(keys, session_key, revision, b"", header))


def take(keys: Keys, session_key: str, revision: bytes) -> Operation[Outcome | bytes]:
    """Remove a record of this ``revision``; DONE, GONE, or the record found instead. One round trip."""
    return (yield from _conditional(scripts.TAKE, [keys.record(session_key)], revision))


@dataclass(frozen=True, slots=True)
class Move:
    """A session's way from one key to another; ``leaves_address`` for ``FORWARDING_TTL`` seconds."""

    old: str
    new: str
    leaves_address: bool = False


def cycle(keys: Keys, move: Move, revision: bytes, record: bytes, ttl: int) -> Operation[Outcome | bytes]:
    """Move a session of this ``revision`` (empty: of any) to a new key, with a new record.

    DONE, GONE, TAKEN (the new key), or the record found instead under the old key. One round trip;
    for servers without slots.
    """
    address = forwarding_address(move.old, move.new) if move.leaves_address else b""
    names = [keys.record(move.old), keys.record(move.new), keys.forwarding(move.old)]
    return (yield from _conditional(scripts.CYCLE, names, revision, record, ttl, address, FORWARDING_TTL))


def cycle_between_slots(
    keys: Keys, move: Move, revision: bytes, record: bytes, ttl: int
) -> Operation[Outcome | bytes]:
    """``cycle()`` where the two keys may live on different servers: the new one first, then the old.

    Two round trips, three with an address. Whatever stops it half-way, a session that was deleted
    stays deleted, except that both keys lead to the session until the call is repeated.
    """
    if not (yield from create(keys, move.new, record, ttl)):
        return Outcome.TAKEN
    withdraw: list[Command] = [("UNLINK", keys.record(move.new))]
    if move.leaves_address:
        address = forwarding_address(move.old, move.new)
        # Whoever leaves the address moves the session; others leave it to that one, and follow.
        if not (yield ("SET", keys.forwarding(move.old), address, "NX", "EX", FORWARDING_TTL)):
            yield withdraw
            return Outcome.GONE
        withdraw.append(("UNLINK", keys.forwarding(move.old)))
    if revision:
        outcome = yield from take(keys, move.old, revision)
    else:
        outcome = Outcome.DONE if (yield from delete(keys, move.old)) else Outcome.GONE
    if outcome is not Outcome.DONE:
        yield withdraw
    return outcome


def replicated(operation: Operation[T], replicas: int, patience_ms: int) -> Operation[T]:
    """``operation``, with each of its commands acknowledged by so many replicas; no further round trip.

    Raises ``SessionNotReplicated`` when ``patience_ms`` milliseconds are not enough.
    """
    step = operation.send(None)
    while True:
        if isinstance(step, tuple):
            reply, reached = yield [step, ("WAIT", replicas, patience_ms)]
        else:
            reply, reached = (yield step), replicas
        try:
            if isinstance(reply, SessionStoreError):
                step = operation.throw(reply)
                continue
            if isinstance(reached, SessionStoreError):
                raise reached
            if reached < replicas:
                raise SessionNotReplicated(replicas, reached)
            step = operation.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic


def follow(keys: Keys, session_key: str | None) -> Operation[str | None]:
    """The key a session has moved to, if it has left an address. One round trip."""
    if session_key is None or not is_plausible(session_key):
        return None
    address = yield ("GET", keys.forwarding(session_key))
    return None if address is None else forwarded(session_key, address)


def _conditional(
    script: Script, names: list[str], *arguments: str | bytes | int
) -> Operation[Outcome | bytes]:
    try:
        reply = yield ("EVALSHA", script.digest, len(names), *names, *arguments)
    except UnknownScript:
        reply = yield ("EVAL", script.text, len(names), *names, *arguments)
    return Outcome(reply) if isinstance(reply, int) else reply


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
