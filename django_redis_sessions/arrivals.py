"""What is said to Redis when a session comes from another engine, or goes to one?

A session comes once: it leaves a mark (``keys``) that outlives its copy there, and whoever would bring it
again, because it has ended here meanwhile, is told so by the server. Records and marks are written by one
script, so neither is ever without the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django_redis_sessions import announcements, scripts
from django_redis_sessions.keys import Keys
from django_redis_sessions.operations import (
    Command,
    Entry,
    Located,
    Operation,
    Outcome,
    Result,
    admit_all,
    forget_all,
    located,
    or_raise,
    run_scripts,
    take,
)
from django_redis_sessions.records import revision_of

#: A mark outlives the session for so many seconds: for so long, processes that still use the other
#: engine may extend the life of its copy there.
MARK_GRACE = 86_400
#: For how long it is remembered that sessions were adopted.
ARRIVAL_MEMORY = 400 * 86_400
# No second that a clock can show has so many digits.
_LONGEST_TIME = 12
#: The mark of a session that has gone, and of one that shall not come; of one that has come it is the
#: ``fingerprint()`` of its data.
GONE, BARRED = b">", b""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session of another engine as it is to be stored here; durations in seconds."""

    session_key: str
    record: bytes
    ttl: int
    fingerprint: bytes
    user_id: str | None
    entry: Entry | None

    @property
    def mark_ttl(self) -> int:
        """How long its mark is kept."""
        return self.ttl + MARK_GRACE


def fingerprint(payload: bytes) -> bytes:
    """8 bytes that tell whether data has changed, wherever it is kept; ``payload`` is what a serializer made."""
    return sha256(payload).digest()[:8]


def adopt(keys: Keys, arrival: Arrival) -> Operation[Result]:
    """Store a session, unless it has been here before; how that went. One round trip, two on a cluster.

    DONE; GONE if it was here and has ended; REVOKED; or the record that is here.
    """
    return (yield from adopt_all(keys, [arrival]))[0]


def adopt_all(keys: Keys, arrivals: Sequence[Arrival]) -> Operation[list[Result]]:
    """``adopt()`` for several. One round trip; on a cluster one more, and a third if some have ended here."""
    admitted = (yield from _admitted(keys, arrivals)) if keys.are_spread else {}
    refused = {at: result for at, result in admitted.items() if result is not Outcome.DONE}
    calls = [_call(keys, arrival) for at, arrival in enumerate(arrivals) if at not in refused]
    replies = iter((yield from run_scripts(scripts.ADOPT, calls)))
    results = [refused.get(at) or _meaning(arrival, next(replies)) for at, arrival in enumerate(arrivals)]
    if keys.are_spread:
        yield from _forget_gone(keys, arrivals, results)
    return results


def _admitted(keys: Keys, arrivals: Sequence[Arrival]) -> Operation[dict[int, Result]]:
    """How it went with those that are signed in, by their places."""
    entries = {
        at: (each.session_key, each.entry) for at, each in enumerate(arrivals) if each.entry is not None
    }
    return dict(zip(entries, (yield from admit_all(keys, list(entries.values()))), strict=True))


def _forget_gone(keys: Keys, arrivals: Sequence[Arrival], results: Sequence[Result]) -> Operation[None]:
    members: dict[str, list[str]] = {}
    for arrival, result in zip(arrivals, results, strict=True):
        if arrival.entry is not None and result is Outcome.GONE:
            members.setdefault(keys.index(arrival.entry.user), []).append(keys.name(arrival.session_key))
    if members:
        yield from forget_all(keys, members)


def withdraw(keys: Keys, arrivals: Iterable[Arrival]) -> Operation[int]:
    """End sessions that were just stored, and were signed out at the other engine meanwhile; their number.

    One that was saved here since stays. One round trip for each.
    """
    ended = 0
    for arrival in arrivals:
        handle = keys.handle_of(keys.name(arrival.session_key))
        message = announcements.revoked(handle, arrival.user_id, "logout")
        user = arrival.entry.user if arrival.entry is not None else b""
        revision = revision_of(arrival.record)
        ended += (yield from take(keys, arrival.session_key, revision, message, user)) is Outcome.DONE
    return ended


def both(keys: Keys, session_key: str) -> Operation[tuple[Located | None, bytes | None]]:
    """The session's record and its mark, by whichever of its names. One round trip."""
    names = keys.names(session_key)
    places = [*map(keys.record_named, names), *map(keys.mark, names)]
    found = [or_raise(reply) for reply in (yield [("GET", place) for place in places])]
    return located(names, found[: len(names)]), _first(found[len(names) :])


def standing(keys: Keys, session_key: str) -> Operation[tuple[Located | None, bool]]:
    """The session's record, and whether it has been here. One round trip."""
    found, mark = yield from both(keys, session_key)
    return found, mark not in (None, GONE)


def marks(keys: Keys, session_keys: Sequence[str]) -> Operation[list[bytes | None]]:
    """The marks of sessions, None where there is none. One round trip."""
    places = [[*map(keys.mark, keys.names(session_key))] for session_key in session_keys]
    return [_first(found) for found in (yield from _asked("GET", places))]


def present(keys: Keys, session_keys: Sequence[str]) -> Operation[list[bool]]:
    """Which sessions are here. One round trip."""
    places = [[*map(keys.record_named, keys.names(session_key))] for session_key in session_keys]
    return [any(found) for found in (yield from _asked("EXISTS", places))]


def bar(keys: Keys, session_key: str, ttl: int) -> Operation[None]:
    """From now on the session is not brought here, for so many seconds. One round trip."""
    for reply in (yield [("SET", keys.mark(name), BARRED, "EX", ttl) for name in keys.names(session_key)]):
        or_raise(reply)


def mark_gone(keys: Keys, lives: dict[str, int]) -> Operation[None]:
    """Note that these sessions, which live for so many seconds, have gone to another engine. One round trip."""
    commands: list[Command] = [
        ("SET", keys.mark(name), GONE, "EX", ttl + MARK_GRACE)
        for session_key, ttl in lives.items()
        for name in keys.names(session_key)
    ]
    if commands:
        for reply in (yield commands):
            or_raise(reply)


def note(keys: Keys, now: int) -> Operation[None]:
    """Remember that a session was adopted in this second. One round trip."""
    yield ("SET", keys.last_arrival, now, "EX", ARRIVAL_MEMORY)


def last(keys: Keys) -> Operation[int | None]:
    """The second in which a session was last adopted; None if nobody remembers. One round trip."""
    found = yield ("GET", keys.last_arrival)
    return int(found) if found is not None and found.isdigit() and len(found) < _LONGEST_TIME else None


def _asked(command: str, places: Sequence[Sequence[str]]) -> Operation[list[list[Any]]]:
    commands: list[Command] = [(command, place) for some in places for place in some]
    replies = iter((yield commands) if commands else [])
    return [[or_raise(next(replies)) for _ in some] for some in places]


def _first(found: Iterable[bytes | None]) -> bytes | None:
    return next((reply for reply in found if reply is not None), None)


def _call(keys: Keys, arrival: Arrival) -> tuple[list[str], list[Any]]:
    name = keys.name(arrival.session_key)
    names = [keys.record_named(name), keys.mark(name)]
    arguments: list[Any] = [arrival.record, arrival.ttl, arrival.fingerprint, arrival.mark_ttl]
    if arrival.entry is not None and not keys.are_spread:
        names.append(keys.index(arrival.entry.user))
        arguments += arrival.entry.arguments(name)
    return names, arguments


def _meaning(arrival: Arrival, reply: Any) -> Result:
    if isinstance(reply, int):
        return Outcome(reply)
    record: bytes = reply
    # A repeated call whose first answer was lost finds its own.
    return Outcome.DONE if revision_of(record) == revision_of(arrival.record) else record
