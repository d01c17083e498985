"""What is said to Redis for each thing a session store does?

Every function here is a generator: it yields a command (a tuple) or several that may share one
round trip (a list of tuples), is sent the reply (a list of replies), and returns what the reply
means. It may yield a ``Pause`` too. Errors from Redis are thrown into it. Nothing here waits; ``executors`` does.

An implausible session key is an unknown session and is answered without a round trip.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from django_redis_sessions import records, scripts
from django_redis_sessions.errors import (
    SessionNotReplicated,
    SessionStoreError,
    UnknownScript,
)
from django_redis_sessions.keys import Keys, forwarded, forwarding_address, is_plausible
from django_redis_sessions.records import Header
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
