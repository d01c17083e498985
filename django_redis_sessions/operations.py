"""What is said to Redis for each thing a session store does?

Every function here is a generator: it yields a command (a tuple) or several that may share one
round trip (a list of tuples), is sent the reply (a list of replies), and returns what the reply
means. It may yield a ``Pause`` too. Errors from Redis are thrown into it. Nothing here waits; ``executors`` does.

An implausible session key is an unknown session and is answered without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from django_redis_sessions import records, scripts
from django_redis_sessions.census import Census, everything
from django_redis_sessions.errors import (
    SessionNotReplicated,
    SessionStoreError,
    UnknownScript,
)
from django_redis_sessions.keys import Keys, forwarded, forwarding_address, is_plausible
from django_redis_sessions.records import LONGEST_HEADER, Header, owner_of
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
#: How many keys one UNLINK names: freeing them takes well under a millisecond, were they large.
BUNDLE = 100
#: So many first bytes of a record are fetched to count it: most records whole, which spares STRLEN.
GLIMPSE = 1024
#: MEMORY USAGE is asked for so many sessions, and from then on for one in so many.
MEASURED_AT_LEAST, MEASURED_EVERY = 2000, 20


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


class Errand(Protocol):
    """What is done with the sessions that a walk finds, a page at a time."""

    def commands(self, names: list[bytes]) -> list[Command]:
        """What to say about the records with these Redis keys, and about what earlier pages left open."""

    def receive(self, replies: list[Any]) -> None:
        """Take the replies to the commands that were given last; errors of this package among them."""

    def progress(self) -> tuple[int, int]:
        """How many sessions were seen so far, and how many ended."""

    @property
    def is_enough(self) -> bool:
        """Whether no further page is needed."""


def walk(keys: Keys, errand: Errand, progress: Callable[[Progress], object] = bool) -> Operation[bool]:
    """Take ``errand`` from page to page; whether it has come past every session. A round trip a page.

    The next page is asked for together with what is said about this one, so all of it is one round
    trip; no command is longer than a page. As SCAN has it
    (https://redis.io/docs/latest/commands/scan/): whoever was there all the time is seen, and while
    Redis resizes its table a session can be seen twice.
    """
    total = yield from _keys_in_database()
    cursor: int | None = 0
    names: list[bytes] = []
    looked_at = 0
    is_cut_short = False
    while True:
        if errand.is_enough:
            is_cut_short = is_cut_short or cursor is not None or bool(names)
            cursor, names = None, []
        commands = errand.commands(names)
        scan: list[Command] = [] if cursor is None else [_scan(keys, cursor)]
        if not scan and not commands:
            return not is_cut_short
        replies = yield [*scan, *commands]
        names = []
        if scan:
            next_cursor, names = _or_raise(replies.pop(0))
            cursor = int(next_cursor) or None
            looked_at += PAGE
        errand.receive(replies)
        share = 1.0 if cursor is None and not names else min(1.0, looked_at / total)
        progress(Progress(*errand.progress(), share))


def survey(
    keys: Keys, census: Census, *, limit: int | None = None, progress: Callable[[Progress], object] = bool
) -> Operation[Census]:
    """Count sessions into ``census``, all or about ``limit``; a round trip a page."""
    census.is_complete = yield from walk(keys, _Survey(census, limit), progress)
    return census


class _Survey:
    """Looks at each session: two commands, and a third for some of them."""

    def __init__(self, census: Census, limit: int | None) -> None:
        self._census = census
        self._limit = limit
        self._names: list[bytes] = []
        self._stride = 1
        #: Sessions whose size is not known yet, each with what it takes in Redis, if that was asked.
        self._large: list[tuple[bytes, int | None]] = []

    def commands(self, names: list[bytes]) -> list[Command]:
        self._names = names
        self._stride = 1 if self._census.measured < MEASURED_AT_LEAST else MEASURED_EVERY
        return [
            *[("STRLEN", name) for name, _ in self._large],
            *[("GETRANGE", name, 0, GLIMPSE - 1) for name in names],
            *[("TTL", name) for name in names],
            *[("MEMORY", "USAGE", name) for name in names[:: self._stride]],
        ]

    def receive(self, replies: list[Any]) -> None:
        large, self._large = self._large, []
        first, count = len(large), len(self._names)
        for (_, memory), size in zip(large, replies[:first], strict=True):
            # Gone by now, but counted: then it was at least this long.
            self._census.weigh(size if isinstance(size, int) and size else GLIMPSE, memory)
        starts, ttls = replies[first : first + count], replies[first + count : first + 2 * count]
        memories: list[Any] = [None] * count
        memories[:: self._stride] = replies[first + 2 * count :]
        seen = [
            (name, start, ttl, memory)
            for name, start, ttl, memory in zip(self._names, starts, ttls, memories, strict=True)
            # Gone since the SCAN, or replaced by another kind of key: not a session any more.
            if ttl != -2 and not isinstance(start, Exception)
        ]
        self._census.count([owner_of(start) for _, start, _, _ in seen], [ttl for _, _, ttl, _ in seen])
        for name, start, _, memory in seen:
            # MEMORY may be forbidden by an ACL rule.
            known = memory if isinstance(memory, int) else None
            if len(start) < GLIMPSE:
                self._census.weigh(len(start), known)
            else:
                self._large.append((name, known))

    def progress(self) -> tuple[int, int]:
        return self._census.sessions, 0

    @property
    def is_enough(self) -> bool:
        return self._limit is not None and self._census.sessions >= self._limit


def purge(
    keys: Keys,
    wanted: Callable[[bytes], bool],
    *,
    dry_run: bool = False,
    one_by_one: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> Operation[int]:
    """End every session that is ``wanted``, by its record's first bytes; their number. A round trip a page.

    ``one_by_one`` is for clusters, where no command may name keys of several slots. Stopping
    half-way leaves the rest as it was.
    """
    errand = _Purge(wanted, dry_run=dry_run, bundle=1 if one_by_one else BUNDLE)
    yield from walk(keys, errand, progress)
    return errand.ended


class _Purge:
    """Looks at each session's header, if that decides anything, and ends it with the next round trip."""

    is_enough = False

    def __init__(self, wanted: Callable[[bytes], bool], *, dry_run: bool, bundle: int) -> None:
        self.ended = 0
        self._seen = 0
        self._wanted = wanted
        self._is_dry_run = dry_run
        self._bundle = bundle
        self._names: list[bytes] = []
        self._doomed: list[bytes] = []

    def commands(self, names: list[bytes]) -> list[Command]:
        if self._wanted is everything:
            self._seen += len(names)
            self._doom(names)
            names = []
        self._names = names
        doomed = self._doomed
        ending: list[Command] = [
            ("UNLINK", *doomed[start : start + self._bundle]) for start in range(0, len(doomed), self._bundle)
        ]
        return [*ending, *[("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in names]]

    def receive(self, replies: list[Any]) -> None:
        at = len(replies) - len(self._names)
        self.ended += sum(map(_or_raise, replies[:at]))
        self._doomed = []
        seen, wanted = 0, self._wanted
        for name, start in zip(self._names, replies[at:], strict=True):
            # Empty: gone since the SCAN. An error: replaced by another kind of key.
            if start and not isinstance(start, Exception):
                seen += 1
                if wanted(start):
                    self._doom([name])
        self._seen += seen

    def progress(self) -> tuple[int, int]:
        return self._seen, self.ended

    def _doom(self, names: list[bytes]) -> None:
        if self._is_dry_run:
            self.ended += len(names)
        else:
            self._doomed += names


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


def _scan(keys: Keys, cursor: int) -> Command:
    return ("SCAN", cursor, "MATCH", keys.records_pattern, "COUNT", PAGE, "TYPE", "string")


def _or_raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
