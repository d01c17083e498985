"""What is said to Redis for each thing a session store does?

Every function here is a generator: it yields a command (a tuple) or several that may share one
round trip (a list of tuples), is sent the reply (a list of replies), and returns what the reply
means. It may yield an ``Aside`` too. Errors from Redis are thrown into it. Nothing here waits; ``executors`` does.

What no scheme in ``KEYS`` takes for a session key is an unknown session and is answered without a round trip.
While a site moves from one scheme to another, a session may have several names, and is looked for under all
of them at a time: on one server with one command, so that it is not missed while another request moves it.
On a cluster, whose servers answer each in its own moment, a session that is not found is looked for once more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from django_redis_sessions import announcements, records, scripts
from django_redis_sessions.errors import SessionNotReplicated, SessionStoreError, UnknownScript
from django_redis_sessions.keys import Keys, forwarded, forwarding_address
from django_redis_sessions.records import LONGEST_HEADER, Header, owner_of
from django_redis_sessions.scripts import Script

_log = logging.getLogger("django_redis_sessions")

T = TypeVar("T")
Command = tuple[str | bytes | int, ...]


class Aside:
    """Yielded in place of commands: something else than one round trip with whoever is responsible."""


@dataclass(frozen=True, slots=True)
class Pause(Aside):
    """Nothing is said to Redis for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Masters(Aside):
    """The reply is a list of all servers that hold keys, to be talked to by ``on()``."""


@dataclass(frozen=True, slots=True)
class Saying(Aside):
    """Say this to one of the ``Masters``."""

    server: Any
    step: Command | list[Command]


@dataclass(frozen=True, slots=True)
class Through(Aside):
    """Say this to another deployment, over its ``connections``."""

    connections: Any
    step: Command | list[Command]


@dataclass(frozen=True, slots=True)
class Elsewhere(Aside):
    """Somebody else than Redis is asked, in the way that suits the caller; the reply is what they give.

    Errors of theirs have to be this package's.
    """

    ask: Callable[[], Any]
    aask: Callable[[], Awaitable[Any]]


Step = Command | list[Command] | Aside
Operation = Generator[Step, Any, T]


def driven(operation: Operation[T], perform: Callable[[Step], Operation[Any]]) -> Operation[T]:
    """``operation``, each step of which is performed by ``perform(step)``; what that raises meets the operation."""
    try:
        step = operation.send(None)
        while True:
            try:
                reply = yield from perform(step)
            except SessionStoreError as error:
                step = operation.throw(error)
            else:
                step = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic


def masters() -> Operation[list[Any]]:
    """The ``Masters``, for whoever is no operation."""
    return (yield Masters())  # type: ignore[no-any-return]  # what an aside gives is not typed


def on(server: Any, operation: Operation[T]) -> Operation[T]:
    """``operation``, performed on one of the ``Masters``, for what concerns all keys of a server."""

    def said(step: Step) -> Operation[Any]:
        return (yield step if isinstance(step, Aside) else Saying(server, step))

    return driven(operation, said)


def say(step: Step) -> Operation[Any]:
    """The reply to one step."""
    return (yield step)


def through(connections: Callable[[], Any], operation: Operation[T]) -> Operation[T]:
    """``operation``, said to whichever deployment ``connections()`` leads to at each step."""

    def said(step: Step) -> Operation[Any]:
        return (yield step if isinstance(step, Aside) else Through(connections(), step))

    return driven(operation, said)


#: For how many seconds a session that has moved can be found under its old key.
FORWARDING_TTL = 10
#: For how many seconds whoever knows a session's old name can find out the new one: longer than most
#: requests take, so that a session which is being revoked does not escape by a rotation.
MOVED_TTL = 60
#: So many members are taken out of an index by one call of a script.
MOST_MEMBERS = 100
#: So many rotations in a row are followed.
MOST_MOVES = 20
#: For how many seconds an index keeps what is over, for a sweeper to report, and a revocation, for
#: requests that had begun before it; and how many members that are over it keeps at most.
RETENTION, MOST_OVER = 3600, 1000


class Located(NamedTuple):
    """A session's record, and which of its names it was found by."""

    name: str
    record: bytes


def locate(keys: Keys, session_key: str | None) -> Operation[Located | None]:
    """The session's record and where it is, or None when there is none. One round trip.

    Two for a session of several names that is not found on a cluster.
    """
    names = keys.names(session_key)
    if not names:
        return None
    if len(names) == 1:
        record = yield ("GET", keys.record_named(names[0]))
        return None if record is None else Located(names[0], record)
    for _ in range(2 if keys.are_spread else 1):
        if keys.are_spread:
            records = yield [("GET", keys.record_named(name)) for name in names]
        else:
            records = yield ("MGET", *map(keys.record_named, names))
        if found := located(names, map(or_raise, records)):
            return found
    return None


def located(names: Iterable[str], records: Iterable[bytes | None]) -> Located | None:
    """The first of these names under which there is a record."""
    found = zip(names, records, strict=True)
    return next((Located(name, record) for name, record in found if record is not None), None)


def read(keys: Keys, session_key: str | None) -> Operation[bytes | None]:
    """The session's record, or None when there is none. As ``locate()``."""
    located = yield from locate(keys, session_key)
    return None if located is None else located.record


def known(result: T) -> Operation[T]:
    """``result``, which somebody has fetched already. No round trip."""
    return result
    yield  # makes it an operation


def failed(error: SessionStoreError) -> Operation[Any]:
    """What somebody else has met already. No round trip."""
    raise error
    yield  # makes it an operation


def exists(keys: Keys, session_key: str | None) -> Operation[bool]:
    """Whether a session has a record. One round trip, as ``locate()``."""
    return bool((yield from _each(keys, "EXISTS", session_key)))


def delete(keys: Keys, session_key: str | None) -> Operation[bool]:
    """End a session; False when it was gone already. One round trip, safe to repeat.

    Two for a session of several names on a cluster.
    """
    return bool((yield from _each(keys, "UNLINK", session_key)))


def _each(keys: Keys, command: str, session_key: str | None) -> Operation[int]:
    """What the command counts under all names of a session."""
    names = [keys.record_named(name) for name in keys.names(session_key)]
    if not names:
        return 0
    if len(names) == 1 or not keys.are_spread:
        count: int = yield (command, *names)
        return count
    total = 0
    for _ in range(2):
        # It may be on its way from a name that is asked late to one that was asked early.
        total += sum(map(or_raise, (yield [(command, name) for name in names])))
    return total


def create(keys: Keys, session_key: str, record: bytes, ttl: int) -> Operation[bool]:
    """Store a new session's record; False when its key is taken. One round trip."""
    if not keys.accepts(session_key):
        return False
    reply = yield ("SET", keys.record(session_key), record, "NX", "EX", ttl)
    return bool(reply)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many anonymous sessions a network may begin: ``number`` at once, and as many in ``seconds``.

    ``now_us`` is in microseconds since 1970.
    """

    network: str
    number: int
    seconds: int
    now_us: int

    @property
    def arguments(self) -> tuple[int, int, int]:
        """What the script needs to know."""
        # Rounded up, so that not one more than the number fits.
        cost = -(-self.seconds * 1_000_000 // self.number)
        return self.now_us, cost, cost * self.number


def begin(keys: Keys, session_key: str, record: bytes, ttl: int, budget: Budget) -> Operation[Result]:
    """``create()`` for an anonymous session, out of its network's budget; DONE, TAKEN or SPENT.

    One round trip, two on a cluster.
    """
    if not keys.accepts(session_key):
        return Outcome.TAKEN
    bucket = keys.bucket(budget.network)
    if not keys.are_spread:
        names = [bucket, keys.record(session_key)]
        return (yield from conditional(scripts.BEGIN, names, *budget.arguments, record, ttl))
    outcome = yield from conditional(scripts.BEGIN, [bucket], *budget.arguments)
    if outcome is not Outcome.DONE:
        return outcome
    return Outcome.DONE if (yield from create(keys, session_key, record, ttl)) else Outcome.TAKEN


class Outcome(Enum):
    """How a conditional write went, when it met nobody else's record."""

    DONE = 1
    GONE = 0
    TAKEN = -1
    #: The user's sessions were revoked after the request had begun.
    REVOKED = -2
    #: The budget of the visitor's network has nothing left.
    SPENT = -3


@dataclass(frozen=True, slots=True)
class Full:
    """In place of an ``Outcome``: the user has as many sessions as allowed, of these names."""

    names: tuple[str, ...]


#: How a conditional write went: bytes are the record found instead.
Result = Outcome | bytes | Full


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A session's place in the index of its user.

    ``user`` is the user's marker and ``score`` the second in which the session is surely over;
    ``began_us`` says when the request began, in microseconds since 1970; ``limit`` how many sessions
    the user may have, 0 for any number.
    """

    user: bytes
    user_id: str
    score: int
    now: int
    began_us: int
    limit: int = 0

    def arguments(self, name: str, former: str = "") -> tuple[str | int, ...]:
        """What ``admit()`` in Lua needs to note the session under ``name``, which was ``former``."""
        kept = max(self.score - self.now, 0) + RETENTION
        owner = f"={self.user_id}"
        return (
            name, former, self.score, self.now, kept, self.began_us, self.limit, owner, RETENTION, MOST_OVER
        )  # fmt: skip


def replace(keys: Keys, session_key: str, record: bytes, header: Header) -> Operation[Result]:
    """Overwrite a live record, whatever it is, and restart its life; DONE or GONE. One round trip.

    One command, so a logout cannot slip in between a look and a write.
    """
    if not keys.accepts(session_key):
        return Outcome.GONE
    reply = yield ("SET", keys.record(session_key), record, "XX", "EX", header.ttl)
    return Outcome.DONE if reply else Outcome.GONE


def save(
    keys: Keys, session_key: str, revision: bytes, record: bytes, header: Header, entry: Entry | None = None
) -> Operation[Result]:
    """Replace a record of this ``revision`` (empty: of any) and restart its life; how that went.

    One round trip. ``header`` is the new record's. With ``entry``, the session is noted in its user's
    index before anything is written; on a cluster in a round trip of its own.
    """
    names: list[str] = [keys.record(session_key)]
    arguments: list[str | int] = []
    if entry is not None and keys.are_spread:
        admitted = yield from admit(keys, session_key, entry)
        if admitted is not Outcome.DONE:
            return admitted
    elif entry is not None:
        names.append(keys.index(entry.user))
        arguments += entry.arguments(keys.name(session_key))
    life = records.life(header.touched, header.ttl)
    return (yield from conditional(scripts.SAVE, names, revision, record, life, header.ttl, *arguments))


def touch(
    keys: Keys, session_key: str, revision: bytes, header: Header, entry: Entry | None = None
) -> Operation[Result]:
    """Give a record of this ``revision`` the life in ``header``; one round trip, no payload. As ``save()``.

    A record that somebody else has written meanwhile keeps the life it was written with.
    """
    return (yield from save(keys, session_key, revision, b"", header, entry))


def admit(keys: Keys, session_key: str, entry: Entry) -> Operation[Result]:
    """Note a session in its user's index. One round trip.

    DONE, REVOKED or ``Full``.
    """
    return (yield from admit_named(keys, keys.name(session_key), entry))


def admit_all(keys: Keys, entries: Sequence[tuple[str, Entry]]) -> Operation[list[Result]]:
    """``admit()`` for several session keys, each with its entry. One round trip."""
    calls = [([keys.index(entry.user)], [*entry.arguments(keys.name(key))]) for key, entry in entries]
    return [_result(reply) for reply in (yield from run_scripts(scripts.ADMIT, calls))]


def admit_named(keys: Keys, name: str, entry: Entry, former: str = "") -> Operation[Result]:
    """``admit()`` under a name, in place of ``former`` if there is one."""
    arguments = entry.arguments(name, former)
    return (yield from conditional(scripts.ADMIT, [keys.index(entry.user)], *arguments))


def forget(keys: Keys, user: bytes, members: Sequence[str | bytes]) -> Operation[None]:
    """Take ``members`` out of a user's index. One round trip."""
    yield from forget_all(keys, {keys.index(user): members})


def tidied(keys: Keys, user: bytes, members: Sequence[str]) -> Operation[None]:
    """``forget()`` for what is over already: a failure must not look as if it were not.

    A member of the index without a record counts for nothing.
    """
    try:
        yield from forget(keys, user, members)
    except SessionStoreError as error:
        _log.warning("A session that has ended or moved is still in its user's index: %s", error)


def forget_all(keys: Keys, members: Mapping[str, Sequence[str | bytes]]) -> Operation[None]:
    """Take members out of indexes, which are given by their Redis keys. One round trip."""
    yield from run_scripts(
        scripts.FORGET,
        [
            ([index], [RETENTION, *some[start : start + MOST_MEMBERS]])
            for index, some in members.items()
            for start in range(0, len(some), MOST_MEMBERS)
        ],
    )


def take(
    keys: Keys, session_key: str, revision: bytes, announcement: bytes = b"", user: bytes = b""
) -> Operation[Result]:
    """Remove a record of this ``revision`` (empty: of any) and announce it; how that went. One round trip.

    With ``user``, the session is then taken out of that user's index; on a cluster in a round trip of
    its own.
    """
    names: list[str] = [keys.record(session_key)]
    arguments: list[str | int] = []
    if user and not keys.are_spread:
        names.append(keys.index(user))
        arguments = [RETENTION, keys.name(session_key)]
    outcome = yield from conditional(scripts.TAKE, names, revision, keys.channel, announcement, *arguments)
    if user and keys.are_spread and outcome is Outcome.DONE:
        yield from tidied(keys, user, [keys.name(session_key)])
    return outcome


def end(keys: Keys, session_key: str | None, announcement: bytes, user: bytes = b"") -> Operation[bool]:
    """End a session and announce it; False when it was gone already. As ``take()``, safe to repeat."""
    names = keys.names(session_key)
    if session_key is None or not names:
        return False
    if len(names) > 1:
        return (yield from end_whosever(keys, session_key, announcement, has_index=bool(user)))
    return (yield from take(keys, session_key, b"", announcement, user)) is Outcome.DONE


def end_whosever(
    keys: Keys, session_key: str | None, announcement: bytes, *, has_index: bool = True
) -> Operation[bool]:
    """``end()`` for a session that was not read. One round trip, two if it was somebody's.

    One more for a session of several names on a cluster.
    """
    names = keys.names(session_key)
    if not names:
        return False
    records = [keys.record_named(name) for name in names]
    arguments: list[str | bytes | int] = [keys.channel, announcement, LONGEST_HEADER]
    if len(records) == 1 or not keys.are_spread:
        starts = [(yield from run_script(scripts.END, records, *arguments))]
    else:
        # Twice, as in _each().
        calls = [([record], arguments) for record in records]
        starts = [
            *(yield from run_scripts(scripts.END, calls)),
            *(yield from run_scripts(scripts.END, calls)),
        ]
    start = next(filter(None, starts), b"")
    user = owner_of(start)
    if user and has_index:
        yield from tidied(keys, user, names)
    return bool(start)


def announce(keys: Keys, messages: Iterable[bytes]) -> Operation[None]:
    """Tell whoever listens. One round trip, none if there is nothing to tell.

    Who may write sessions need not have the right to announce anything, and what is announced has
    happened, whether or not it can be told.
    """
    commands: list[Command] = [("PUBLISH", keys.channel, message) for message in messages]
    if commands:
        try:
            yield commands
        except SessionStoreError as error:
            _log.warning("The end of sessions was not announced: %s", error)


@dataclass(frozen=True, slots=True)
class Move:
    """A session's way from one key to another.

    For ``address_ttl`` seconds the old key leads to the new one; 0 leaves no address. ``user_id`` is for the
    announcement; ``entry`` is the user's, if there is an index. ``former`` is the name by which the session is
    kept, if it is not the usual one of ``old``; then ``new`` may be the same key.
    """

    old: str
    new: str
    address_ttl: int = 0
    user_id: str | None = None
    entry: Entry | None = None
    former: str = ""

    def names(self, keys: Keys, there: Keys | None = None) -> tuple[str, str]:
        """What stands for the session before and after; ``there`` are the names of where it goes."""
        return self.former or keys.name(self.old), (there or keys).name(self.new)

    def announcement(self, keys: Keys, there: Keys | None = None) -> bytes:
        """What listeners are told; nothing if they know the session by the handle that it keeps."""
        old, new = map(keys.handle_of, self.names(keys, there))
        return announcements.rotated(old, new, self.user_id) if old != new else b""


def cycle(keys: Keys, move: Move, revision: bytes, record: bytes, ttl: int) -> Operation[Result]:
    """Move a session of this ``revision`` (empty: of any) to a new key, with a new record; how that went.

    TAKEN means the new key. One round trip; on a cluster more, see ``cycle_between_slots()``.
    """
    if keys.are_spread:
        return (yield from cycle_between_slots(keys, move, revision, record, ttl))
    address = forwarding_address(move.old, move.new) if move.address_ttl else b""
    old, new = move.names(keys)
    names = [keys.record_named(old), keys.record_named(new), keys.forwarding(move.old), keys.moved(old)]
    announcement = move.announcement(keys)
    arguments: list[str | bytes | int] = [record, ttl, address, move.address_ttl]
    arguments += [new, MOVED_TTL, keys.channel, announcement]
    if move.entry is not None:
        names.append(keys.index(move.entry.user))
        arguments += move.entry.arguments(new, old)
    return (yield from conditional(scripts.CYCLE, names, revision, *arguments))


def cycle_between_slots(
    keys: Keys, move: Move, revision: bytes, record: bytes, ttl: int
) -> Operation[Result]:
    """``cycle()`` where the two keys may live on different servers: the new one first, then the old.

    Two round trips, one more with an address, two more with an index, one more while ``KEYS`` names several
    schemes or "plain". Whatever stops it half-way, a session that was deleted stays deleted, except that both
    keys lead to the session until the call is repeated.
    """
    old, new = move.names(keys)
    if not (yield ("SET", keys.record_named(new), record, "NX", "EX", ttl)):
        return Outcome.TAKEN
    withdraw: list[Command] = [("UNLINK", keys.record_named(new))]
    address = forwarding_address(move.old, move.new)
    if move.address_ttl:
        # Whoever leaves the address moves the session; others leave it to that one, and follow. Should that
        # one never come to an end, they move it themselves before long.
        if not (yield ("SET", keys.forwarding(move.old), address, "NX", "EX", FORWARDING_TTL)):
            yield withdraw
            return Outcome.GONE
        withdraw.append(("UNLINK", keys.forwarding(move.old)))
    outcome: Result = Outcome.DONE
    if move.entry is not None:
        # Nobody has the new key yet, so it may be noted when it exists already. The old name stays
        # until the old record is gone.
        outcome = yield from admit_named(keys, new, move.entry, old)
    if outcome is Outcome.DONE:
        names = [keys.record_named(old), keys.moved(old)]
        leaving: list[str | bytes | int] = [new, MOVED_TTL, keys.channel, move.announcement(keys)]
        outcome = yield from conditional(scripts.LEAVE, names, revision, *leaving)
    if outcome is not Outcome.DONE:
        yield withdraw
    else:
        yield from _finished(keys, move, address)
    if move.entry is not None:
        yield from tidied(keys, move.entry.user, [old if outcome is Outcome.DONE else new])
    return outcome


def _finished(keys: Keys, move: Move, address: bytes) -> Operation[None]:
    """What is left to do on other servers when a session has moved; that it has moved holds without it."""
    old, new = move.names(keys)
    # What an earlier attempt may have left behind that was stopped half-way.
    rest: list[Command] = [
        ("UNLINK", keys.record_named(name)) for name in keys.names(move.old) if name not in (old, new)
    ]
    if move.address_ttl > FORWARDING_TTL:
        rest.append(("SET", keys.forwarding(move.old), address, "EX", move.address_ttl))
    if keys.handle_of(old) != old:
        # For whoever knows the session by its handle.
        rest.append(("SET", keys.moved(keys.handle_of(old)), new, "EX", MOVED_TTL))
    if not rest:
        return
    try:
        for reply in (yield rest):
            or_raise(reply)
    except SessionStoreError as error:
        _log.warning("What leads from a session's former key to its new one is incomplete: %s", error)


def seize(keys: Keys, name: str) -> Operation[tuple[str, bytes] | None]:
    """End the session with this name, or the one it has become by a rotation: its last name and record.

    None if it was gone already. One round trip, two more for each rotation that is followed. Announces
    nothing, and leaves the index as it is.
    """
    for _ in range(MOST_MOVES):
        record, ended = yield [("GET", keys.record_named(name)), ("UNLINK", keys.record_named(name))]
        if or_raise(ended):
            return name, or_raise(record) or b""
        # Whoever moves a session leaves its new name in the same step.
        moved = yield ("GET", keys.moved(name))
        if moved is None:
            return None
        name = moved.decode(errors="replace")
    return None


def replicated(operation: Operation[T], replicas: int, patience_ms: int) -> Operation[T]:
    """``operation``, with all that it writes acknowledged by so many replicas; no further round trip.

    Raises ``SessionNotReplicated`` when ``patience_ms`` milliseconds are not enough.
    """

    def acknowledged(step: Step) -> Operation[Any]:
        if isinstance(step, Aside):
            return (yield step)
        commands = [step] if isinstance(step, tuple) else step
        *replies, reached = yield [*commands, ("WAIT", replicas, patience_ms)]
        if isinstance(step, tuple):
            or_raise(replies[0])
        if or_raise(reached) < replicas:
            raise SessionNotReplicated(replicas, reached)
        return replies[0] if isinstance(step, tuple) else replies

    return driven(operation, acknowledged)


def follow(keys: Keys, session_key: str | None) -> Operation[str | None]:
    """The key a session has moved to, if it has left an address, whoever accepts that. One round trip."""
    if session_key is None or not keys.accepts(session_key):
        return None
    address = yield ("GET", keys.forwarding(session_key))
    return None if address is None else forwarded(session_key, address)


def run_script(script: Script, names: list[str], *arguments: str | bytes | int) -> Operation[Any]:
    """The script's raw reply. One round trip; two when the server has not seen the script yet."""
    try:
        return (yield ("EVALSHA", script.digest, len(names), *names, *arguments))
    except UnknownScript:
        return (yield ("EVAL", script.text, len(names), *names, *arguments))


def run_scripts(script: Script, calls: Sequence[tuple[list[str], list[Any]]]) -> Operation[list[Any]]:
    """The raw replies to one script, called with each pair of names and arguments. As ``run_script()``.

    Raises the first error, when all were called.
    """
    commands: list[Command] = [
        ("EVALSHA", script.digest, len(names), *names, *arguments) for names, arguments in calls
    ]
    replies: list[Any] = (yield commands) if commands else []
    unknown = [at for at, reply in enumerate(replies) if isinstance(reply, UnknownScript)]
    if unknown:
        again = yield [("EVAL", script.text, *commands[at][2:]) for at in unknown]
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    return [or_raise(reply) for reply in replies]


def or_raise(reply: Any) -> Any:
    """One of several replies that came together; raised if it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def conditional(script: Script, names: list[str], *arguments: str | bytes | int) -> Operation[Result]:
    """What the script's reply means, for those that write only if nobody else has. As ``run_script()``."""
    return _result((yield from run_script(script, names, *arguments)))


def _result(reply: Any) -> Result:
    if isinstance(reply, int):
        return Outcome(reply)
    if isinstance(reply, list):
        return Full(tuple(name.decode(errors="replace") for name in reply))
    record: bytes = reply
    return record
