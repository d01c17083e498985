"""Which sessions does a user have, and how do they all end?

Operations on a user's index; ``keys`` says what is in it. Whoever stores a session notes it there
first (``operations``), so no live session is ever missing. The other way round a member whose record
is gone counts for nothing: reading passes over it, and makes it due for the sweeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django_redis_sessions import announcements, scripts
from django_redis_sessions.expiry import index_score
from django_redis_sessions.footing import patiently
from django_redis_sessions.keys import Keys, texts
from django_redis_sessions.operations import (
    RETENTION,
    Command,
    Entry,
    Full,
    Masters,
    Operation,
    announce,
    forget,
    forget_all,
    on,
    or_raise,
    run_script,
    run_scripts,
    seize,
    tidied,
)
from django_redis_sessions.records import LONGEST_HEADER, header_of, owner_of
from django_redis_sessions.walks import Pages, Progress, look, owners_on

#: So many sessions are read, ended or claimed with one command or in one round trip.
BATCH = 100
#: How many keys one SCAN looks at.
PAGE = 500
#: For how many seconds a sweeper has what it has claimed to itself.
LEASE = 60
# Beyond every score of a session, below every score of a revocation.
_ENDLESS = 100_000_000_000
# A member of a session that is being revoked.
_DOOMED = "~"


@dataclass(frozen=True, slots=True)
class Ended:
    """Sessions that were ended, by name, and whose they were, as far as is known."""

    names: list[str]
    user_id: str | None


def of_user(keys: Keys, user: bytes, now: int) -> Operation[dict[str, bytes]]:
    """The records of a user's sessions, by name. Two round trips, one more for each 100 sessions beyond 100.

    One more if the records of some are gone: those are over from ``now`` on.
    """
    names = yield from _names(keys, user, now)
    found: dict[str, bytes] = {}
    gone: list[str] = []
    for batch in _batches(names):
        records = yield [("GET", keys.record_named(name)) for name in batch]
        for name, record in zip(batch, records, strict=True):
            if or_raise(record) is None:
                gone.append(name)
            elif owner_of(record) == user:
                found[name] = record
    if gone:
        yield _over(keys, user, gone, now)
    return found


def make_room(keys: Keys, entry: Entry, full: Full, *, oldest_out: bool) -> Operation[list[str] | None]:
    """End those of a user's sessions whose life would end first, until there is room for one more.

    The names of the ended, or None if there is no room and nothing may be ended for it. One round trip
    if some were over already, four otherwise.
    """
    starts: list[Any] = []
    for batch in _batches(full.names):
        starts += yield [
            ("GETRANGE", keys.record_named(name.lstrip(_DOOMED)), 0, LONGEST_HEADER - 1) for name in batch
        ]
    live: list[str] = []
    over: list[str] = []
    for name, start in zip(full.names, starts, strict=True):
        # Nobody's: somebody is about to sign in with it.
        is_live = or_raise(start) and owner_of(start) in (entry.user, b"") and not name.startswith(_DOOMED)
        (live if is_live else over).append(name)
    if over:
        yield _over(keys, entry.user, over, entry.now)
    surplus = live[: max(0, len(live) - entry.limit + 1)]
    if surplus and not oldest_out:
        return None
    ended = yield from _unlinked(keys, surplus)
    yield from forget(keys, entry.user, surplus)
    yield from announce(keys, [_revoked(keys, name, entry.user_id, "limit") for name in ended])
    return ended


def revoke(
    keys: Keys,
    name: str,
    user_id_in: Callable[[str, bytes], str | None],
    reason: str,
    *,
    has_index: bool = True,
) -> Operation[Ended]:
    """End one session, whatever it is called by now; ``user_id_in`` a name and a record, says whose it is.

    Three round trips, two more for each rotation that is followed.
    """
    seized = yield from seize(keys, name)
    if seized is None:
        return Ended([], None)
    name, record = seized
    user, user_id = owner_of(record), user_id_in(name, record)
    if user and has_index:
        yield from tidied(keys, user, [name])
    yield from announce(keys, [_revoked(keys, name, user_id, reason)])
    return Ended([name], user_id)


def revoke_user(
    keys: Keys, user: bytes, user_id: str, *, now_us: int, keep: Sequence[str], reason: str
) -> Operation[Ended]:
    """End all of a user's sessions but the one with a name in ``keep``, and those that are just being made.

    ``now_us``: whoever began to sign in before that many microseconds since 1970 will not succeed. Six
    round trips, four more for each 100 sessions beyond 100. May be repeated after a failure.
    """
    ended: list[str] = []
    if not keep:
        yield from announce(keys, [announcements.user_revoked(user_id)])
    while True:
        _, found = yield from run_script(scripts.REVOKE, [keys.index(user)], now_us, RETENTION, BATCH, *keep)
        if not found:
            return Ended(ended, user_id)
        gone = yield from _unlinked(keys, texts(found))
        # As they are there, or what is no text would be found again for ever.
        yield from forget(keys, user, [_DOOMED.encode() + name for name in found])
        yield from announce(keys, [_revoked(keys, name, user_id, reason) for name in gone])
        ended += gone


@dataclass(frozen=True, slots=True)
class Claim:
    """Members of one user's index that are over, and are this sweeper's for ``LEASE`` seconds."""

    user: bytes
    user_id: str | None
    names: list[str]

    @property
    def expired(self) -> list[str]:
        """Those that nobody has ended."""
        return [name for name in self.names if not name.startswith(_DOOMED)]


def claim(keys: Keys, cursor: int, now: int) -> Operation[tuple[int, list[Claim]]]:
    """Go through a page of one server's keys, and claim what is over; 0 and the last claims at the end.

    Two round trips. Several sweepers may do so at a time, none gets what another has.
    """
    next_cursor, found = yield _scan(keys, cursor)
    indexes = keys.indexes_in(found)
    replies = yield from run_scripts(scripts.CLAIM, [([index], [now, LEASE, BATCH]) for index in indexes])
    claims = [
        Claim(keys.user_in(index), owner[1:].decode(errors="replace") or None, texts(names))
        for index, (owner, names) in zip(indexes, replies, strict=True)
        if names
    ]
    return int(next_cursor), claims


def settle(keys: Keys, claims: list[Claim], now: int) -> Operation[list[Claim]]:
    """The same claims without sessions that live on, or were being revoked and are ended now.

    Two round trips at most.
    """
    names = [name for claim in claims for name in claim.names]
    looks: list[Command] = [
        ("UNLINK" if name.startswith(_DOOMED) else "TTL", keys.record_named(name.lstrip(_DOOMED)))
        for name in names
    ]
    ttls = dict(zip(names, map(or_raise, (yield looks)), strict=True)) if names else {}
    alive: list[Command] = [
        ("ZADD", keys.index(claim.user), "XX", now + ttls[name], name)
        for claim in claims
        for name in claim.names
        if ttls[name] > 0 and not name.startswith(_DOOMED)
    ]
    if alive:
        yield alive
    return [
        Claim(claim.user, claim.user_id, over)
        for claim in claims
        if (over := [name for name in claim.names if name.startswith(_DOOMED) or ttls[name] <= 0])
    ]


def acknowledge(keys: Keys, claims: list[Claim]) -> Operation[None]:
    """Take out what has been reported. One round trip."""
    yield from forget_all(keys, {keys.index(claim.user): claim.names for claim in claims})


def tidy(keys: Keys, patience: float = 0) -> Operation[None]:
    """Take all members out of all indexes whose sessions were ended some other way.

    Three round trips for each 500 keys of the database.
    """
    pages = Pages((yield Masters()), lambda cursor: _members(keys, cursor), patience)
    while (members := (yield from pages.turn())) is not None:
        if members:
            yield from patiently(_forget_gone(keys, members), patience)


def _members(keys: Keys, cursor: int) -> Operation[tuple[int, dict[str, list[str]]]]:
    """Where to go on on this server, 0 at the end, and the members of the indexes on a page."""
    next_cursor, found = yield _scan(keys, cursor)
    indexes = keys.indexes_in(found)
    replies = (yield [("ZRANGEBYSCORE", index, 1, _ENDLESS) for index in indexes]) if indexes else []
    return int(next_cursor), {
        index: texts(or_raise(reply)) for index, reply in zip(indexes, replies, strict=True)
    }


def _forget_gone(keys: Keys, members: dict[str, list[str]]) -> Operation[None]:
    gone = yield from _without_record(keys, members)
    yield from forget_all(keys, gone)


def rebuild(
    keys: Keys,
    user_id_in: Callable[[str, bytes], str | None],
    now: int,
    progress: Callable[[Progress], object],
    patience: float = 0,
) -> Operation[int]:
    """Note every stored session in its user's index; the number of those that have a user.

    What is noted twice, because the server was restarted meanwhile, counts twice.
    """
    noted = seen = 0
    pages = Pages((yield Masters()), lambda cursor: look(keys, cursor), patience)
    while (found := (yield from pages.turn())) is not None:
        calls = []
        for name, record in found.items():
            user, user_id = owner_of(record), user_id_in(name, record)
            if user and user_id is not None:
                header = header_of(record)
                score = index_score(header.touched, header.ttl)
                entry = Entry(user=user, user_id=user_id, score=score, now=now, began_us=_ENDLESS**2)
                calls.append(([keys.index(user)], [*entry.arguments(name)]))
        yield from patiently(run_scripts(scripts.ADMIT, calls), patience)
        noted += len(calls)
        seen += len(found)
        progress(Progress(seen, noted, 0.0))
    return noted


def coverage(keys: Keys, limit: int) -> Operation[tuple[int, int]]:
    """Of about ``limit`` sessions: how many are signed in, and how many of those are not in their user's index.

    Three round trips for each 500 keys of the database that are looked at, four where some are missing.
    """
    signed_in: set[str] = set()
    unlisted: set[str] = set()
    seen = 0
    for server in (yield Masters()):
        cursor: int | None = None
        while cursor != 0 and seen < limit:
            cursor, owners = yield from on(server, owners_on(keys, cursor or 0))
            seen += len(owners)
            named = [(name, user) for name, user in owners.items() if user]
            scores: list[Command] = [("ZSCORE", keys.index(user), name) for name, user in named]
            replies = (yield scores) if scores else []
            signed_in.update(name for name, _ in named)
            missing = {
                name for (name, _), reply in zip(named, replies, strict=True) if or_raise(reply) is None
            }
            # Who has left meanwhile is not missing.
            gone = yield from _without_record(keys, {"": list(missing)})
            signed_in.difference_update(gone.get("", ()))
            unlisted |= missing.difference(gone.get("", ()))
    return len(signed_in), len(unlisted)


def _without_record(keys: Keys, members: dict[str, list[str]]) -> Operation[dict[str, list[str]]]:
    names = list(dict.fromkeys(name for some in members.values() for name in some))
    replies: list[Any] = []
    for batch in _batches(names):
        replies += yield [("EXISTS", keys.record_named(name.lstrip(_DOOMED))) for name in batch]
    gone = {name for name, reply in zip(names, replies, strict=True) if not or_raise(reply)}
    found = {index: [name for name in some if name in gone] for index, some in members.items()}
    return {index: some for index, some in found.items() if some}


def _scan(keys: Keys, cursor: int) -> Command:
    return ("SCAN", cursor, "MATCH", keys.indexes_pattern, "COUNT", PAGE, "TYPE", "zset")


def _names(keys: Keys, user: bytes, now: int) -> Operation[list[str]]:
    found = yield ("ZRANGEBYSCORE", keys.index(user), f"({now}", _ENDLESS)
    return [name for name in texts(found) if not name.startswith(_DOOMED)]


def _over(keys: Keys, user: bytes, names: list[str], now: int) -> Command:
    """Not taken out: the sweeper has not reported them yet."""
    scores = [part for name in names for part in (now, name)]
    return ("ZADD", keys.index(user), "XX", *scores)


def _unlinked(keys: Keys, names: list[str]) -> Operation[list[str]]:
    """End sessions; those that were there."""
    ended: list[str] = []
    for batch in _batches(names):
        replies = yield [("UNLINK", keys.record_named(name)) for name in batch]
        ended += [name for name, reply in zip(batch, replies, strict=True) if or_raise(reply)]
    return ended


def _revoked(keys: Keys, name: str, user_id: str | None, reason: str) -> bytes:
    return announcements.revoked(keys.handle_of(name), user_id, reason)


def _batches(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))
