"""How does a session get from one deployment to another?

No command spans two deployments. So the new record is made first, under a key that nobody has, and the old one
is given up with the step that nobody can come in between; whoever has saved or ended the session by then has
come first. What is said to the other deployment travels as ``Through``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django_redis_sessions import scripts
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.keys import Keys, forwarding_address
from django_redis_sessions.operations import (
    FORWARDING_TTL,
    MOVED_TTL,
    Command,
    Entry,
    Move,
    Operation,
    Outcome,
    Result,
    admit_named,
    conditional,
    or_raise,
    say,
    tidied,
)

_log = logging.getLogger("django_redis_sessions")


@dataclass(frozen=True, slots=True)
class There:
    """Another deployment, for a session to go to: its names, and what directs an operation to it."""

    keys: Keys
    directed: Callable[[Operation[Any]], Operation[Any]]


def relocate(
    keys: Keys, there: There, move: Move, revision: bytes, record: bytes, ttl: int
) -> Operation[Result]:
    """Move a session of this ``revision`` (empty: of any) to another deployment, with a new record; how that went.

    TAKEN means that it is to be tried again with another key. Two round trips, two more with an index, and two
    more after a revocation that has kept the session; from a cluster two more with an address. When it is stopped
    half-way, the old key leads to the session, itself or by its address; what then stands under the new key is
    known to nobody, and goes with its ttl.
    """
    old, new = move.names(keys, there.keys)
    if not (yield from there.directed(say(("SET", there.keys.record_named(new), record, "NX", "EX", ttl)))):
        # Nobody makes the same key by chance: it is this one's own, and an answer was lost.
        yield from there.directed(say(("UNLINK", there.keys.record_named(new))))
        return Outcome.TAKEN
    outcome = yield from _addressed(keys, move, old)
    is_addressed = outcome is Outcome.DONE
    if outcome is Outcome.DONE and move.entry is not None:
        outcome = yield from _admitted(keys, there, move.entry, old, new)
    if outcome is Outcome.DONE:
        outcome = yield from _leave(keys, there, move, revision)
    if outcome is Outcome.DONE:
        yield from _finished(keys, move, old)
    else:
        # A session that is gone may have been moved by another request, whose address it is by now.
        yield from _withdrawn(keys, there, move, is_addressed and outcome is not Outcome.GONE)
    return outcome


def _addressed(keys: Keys, move: Move, old: str) -> Operation[Result]:
    """Leave the address before the record goes, where one step cannot do both."""
    if not move.address_ttl or not keys.are_spread:
        return Outcome.DONE
    address = forwarding_address(move.old, move.new)
    if (yield ("SET", keys.forwarding(move.old), address, "NX", "EX", FORWARDING_TTL)):
        return Outcome.DONE
    # Another request is moving the session, and what it has made there counts when it has come to its end.
    return Outcome.TAKEN if (yield ("EXISTS", keys.record_named(old))) else Outcome.GONE


def _admitted(keys: Keys, there: There, entry: Entry, old: str, new: str) -> Operation[Result]:
    """Note the session in the other deployment's index of its user; nobody has the new key yet."""
    outcome: Result = yield from there.directed(admit_named(there.keys, new, entry))
    if outcome is Outcome.REVOKED and (outlived_us := (yield from _outlived(keys, entry.user, old))):
        # What was revoked after that is still refused.
        entry = replace(entry, began_us=outlived_us + 1)
        outcome = yield from there.directed(admit_named(there.keys, new, entry))
    return outcome


def _outlived(keys: Keys, user: bytes, name: str) -> Operation[int]:
    """When the last revocation was that has come to its end here and has kept this session; 0: there is none."""
    index = keys.index(user)
    is_member, revoked_us = map(or_raise, (yield [("ZSCORE", index, name), ("ZSCORE", index, "!!")]))
    return 0 if is_member is None or revoked_us is None else int(float(revoked_us))


def _leave(keys: Keys, there: There, move: Move, revision: bytes) -> Operation[Result]:
    old, new = move.names(keys, there.keys)
    names = [keys.record_named(old), keys.moved(old)]
    # From a cluster as long as the address, so that whoever has followed that can see whether it holds.
    kept = max(MOVED_TTL, move.address_ttl) if keys.are_spread else MOVED_TTL
    arguments: list[str | bytes | int] = [new, kept, keys.channel, move.announcement(keys, there.keys)]
    if move.address_ttl and not keys.are_spread:
        names.append(keys.forwarding(move.old))
        arguments += [forwarding_address(move.old, move.new), move.address_ttl]
    return (yield from conditional(scripts.LEAVE, names, revision, *arguments))


def _finished(keys: Keys, move: Move, old: str) -> Operation[None]:
    """What is left to do when a session has moved; that it has moved holds without it."""
    if move.address_ttl and keys.are_spread:
        address = forwarding_address(move.old, move.new)
        try:
            yield ("SET", keys.forwarding(move.old), address, "EX", move.address_ttl)
        except SessionStoreError as error:
            _log.warning("What leads to a session in another region will be gone in a moment: %s", error)
    if move.entry is not None:
        yield from tidied(keys, move.entry.user, [old])


def _withdrawn(keys: Keys, there: There, move: Move, is_addressed: bool) -> Operation[None]:
    """Take back what was made for a move that comes to nothing."""
    new = there.keys.name(move.new)
    yield from there.directed(say(("UNLINK", there.keys.record_named(new))))
    if is_addressed and move.address_ttl and keys.are_spread:
        yield ("UNLINK", keys.forwarding(move.old))
    if move.entry is not None:
        yield from there.directed(tidied(there.keys, move.entry.user, [new]))


def has_left(keys: Keys, session_key: str, new: str) -> Operation[bool]:
    """Whether the session with this key has moved to another deployment, where it has the name ``new``.

    From a cluster its address is there before it goes, and a session that was ended in that moment has not
    moved. None or one round trip.
    """
    if not keys.are_spread:
        return True
    commands: list[Command] = [("GET", keys.moved(name)) for name in keys.names(session_key)]
    return new.encode() in map(or_raise, (yield commands))


def whereabouts(keys: Keys, name: str) -> Operation[str | None]:
    """The name that a session of this name has moved to within the last minute, or longer. One round trip."""
    moved = yield ("GET", keys.moved(name))
    return None if moved is None else moved.decode(errors="replace")
