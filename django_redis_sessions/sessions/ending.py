"""How are sessions ended by somebody else than their visitor?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time, time_ns
from typing import Any

from django_redis_sessions import announcements, census, conf, indexes, operations, regions, signals, walks
from django_redis_sessions.announcements import Revoked
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.footing import AT_ONCE, Pace, Place
from django_redis_sessions.indexes import Ended
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import Operation, through
from django_redis_sessions.records import header_of
from django_redis_sessions.relocations import whereabouts
from django_redis_sessions.sessions.looking import named
from django_redis_sessions.sessions.shown import names_of, needs_index, user_id_in, user_id_of
from django_redis_sessions.store import Store
from django_redis_sessions.stored import StoredSession
from django_redis_sessions.walks import Progress

#: ``revoke_all()`` goes through all sessions until it meets none that is meant, at most so often.
MOST_PASSES = 10


def revoke(handle: str, reason: str = "revoked") -> bool:
    """End the session with this handle; False if there is none. No request that is under way revives it.

    Three round trips. A session that moves to another key at this moment is followed, to another region too.
    All regions are asked at a time. If one is down, and the session is in none of the others, that is raised.
    """
    answers = regions.ask(partial(_revoking, handle, reason))
    signals.tell(SessionStore, _news(answers, reason))
    return _has_ended(answers)


async def arevoke(handle: str, reason: str = "revoked") -> bool:
    """Async twin of ``revoke()``."""
    answers = await regions.aask(partial(_revoking, handle, reason))
    await signals.atell(SessionStore, _news(answers, reason))
    return _has_ended(answers)


def revoke_user(
    user: object, keep: Any = None, reason: str = "revoked", *, keep_handle: str | None = None
) -> int:
    """End all of a user's sessions; their number. ``user`` is a model instance or a primary key.

    ``keep``, a session object or a session key, stays, and so does what its request signs in from now
    on; ``keep_handle`` spares the session with this handle. Requests that have begun before, sign-ins too,
    cannot bring a session of the user about any more; where machines' clocks differ, by that much more or
    less. Six round trips, four more for each 100 sessions beyond 100. ``SessionStoreMisconfigured`` where
    ``USER_INDEX`` is off. All regions are asked at a time; if one is down, that is raised when the others are
    done.
    """
    now_us = time_ns() // 1000
    answers = regions.ask(partial(_revoking_user, user, keep, reason, now_us, keep_handle))
    _spare(keep, now_us)
    signals.tell(SessionStore, _news(answers, reason))
    return sum(len(ended.names) for ended in answers.all())


async def arevoke_user(
    user: object, keep: Any = None, reason: str = "revoked", *, keep_handle: str | None = None
) -> int:
    """Async twin of ``revoke_user()``."""
    now_us = time_ns() // 1000
    answers = await regions.aask(partial(_revoking_user, user, keep, reason, now_us, keep_handle))
    _spare(keep, now_us)
    await signals.atell(SessionStore, _news(answers, reason))
    return sum(len(ended.names) for ended in answers.all())


def revoke_all(
    progress: Callable[[Progress], object] = bool, *, keep_handle: str | None = None, patience: float = 0
) -> int:
    """End every session that has begun before now, of whomever; their number.

    Goes through all of them again until none is left, so that none escapes by moving to another key. Some
    round trips for each 500 keys of the database, twice at least. Sends no signal for each of them.
    ``keep_handle`` spares one session, under the key that it has now. ``patience`` as in ``purge()``. One
    region after the other; if one is down, that is raised when the others are done.
    """
    begun, total = int(time()), 0
    for _ in range(MOST_PASSES):
        # From a region that is still to come, a session may have moved to one that was first.
        ended = sum(regions.in_turn(partial(_revoking_all, progress, keep_handle, patience, begun)).all())
        total += ended
        if not ended or len(regions.names()) < 2:
            break
    return total


async def arevoke_all(
    progress: Callable[[Progress], object] = bool, *, keep_handle: str | None = None, patience: float = 0
) -> int:
    """Async twin of ``revoke_all()``."""
    begun, total = int(time()), 0
    for _ in range(MOST_PASSES):
        answers = await regions.ain_turn(partial(_revoking_all, progress, keep_handle, patience, begun))
        ended = sum(answers.all())
        total += ended
        if not ended or len(regions.names()) < 2:
            break
    return total


def purge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
    rate: float | None = None,
    patience: float = 0,
    resume: str | None = None,
) -> int:
    """End every session that meets all given conditions (all sessions, if none is given); their number.

    ``user`` is a model instance or a primary key, durations are in seconds: ``older_than`` since the
    sign-in, ``idle`` since its life was last extended. One round trip for every 500 keys in the database,
    and with ``USER_INDEX`` as many again to tidy up. May be stopped and repeated at any time. ``progress``
    is called after each page. Looks at all sessions once: for one user's, ``revoke_user()`` is quicker and
    misses none.

    ``rate`` is the number of sessions to look at in a second, at most. A connection that is lost half-way
    is waited for, ``patience`` seconds at a time. With ``resume``, "" at first, ``progress`` is told what
    to give for it later to go on; ``ValueError`` for anything else. Numbers are those of one call. Regions as in
    ``revoke_all()``; a place belongs to one of them, so ``resume`` needs ``regions.using()``.
    """
    wanted, place = _wanted(anonymous, user, older_than, idle), _place(resume)
    purging = partial(_purging, wanted, not anonymous, dry_run, progress, Pace(rate, patience), place)
    return sum(regions.in_turn(purging).all())


async def apurge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
    rate: float | None = None,
    patience: float = 0,
    resume: str | None = None,
) -> int:
    """Async twin of ``purge()``."""
    wanted, place = _wanted(anonymous, user, older_than, idle), _place(resume)
    purging = partial(_purging, wanted, not anonymous, dry_run, progress, Pace(rate, patience), place)
    return sum((await regions.ain_turn(purging)).all())


def _revoking(handle: str, reason: str) -> Operation[Ended]:
    name = yield from named(handle)
    if name is None:
        return Ended([], None)
    store = conf.store()
    ended = yield from _revoking_in(store, name, reason)
    if ended.names or store.region is None:
        return ended
    moved = yield from whereabouts(store.keys, name)
    for other in conf.stores():
        if other is not store and moved is not None:
            connections = other.connections
            ended = yield from through(lambda: connections, _revoking_in(other, moved, reason))  # noqa: B023 - used at once
            if ended.names:
                break
    return ended


def _revoking_in(store: Store, name: str, reason: str) -> Operation[Ended]:
    return indexes.revoke(store.keys, name, user_id_in, reason, has_index=store.settings.user_index)


def _revoking_user(
    user: object, keep: Any, reason: str, now_us: int, keep_handle: str | None
) -> Operation[Ended]:
    needs_index()
    user_id = user_id_of(user)
    kept = names_of(keep) or ((yield from named(keep_handle or "")) or "",)
    return (
        yield from indexes.revoke_user(
            conf.store().keys,
            user_marker(user_id),
            user_id,
            now_us=now_us,
            keep=[name for name in kept if name],
            reason=reason,
        )
    )


def _revoking_all(
    progress: Callable[[Progress], object], keep_handle: str | None, patience: float, begun: int
) -> Operation[int]:
    keys = conf.store().keys
    kept = (yield from named(keep_handle or "")) or ""
    total = 0

    def wanted(start: bytes) -> bool:
        return _has_begun(start, begun)

    def told(name: str) -> bytes:
        # Whose it was stands in the body, which is not read.
        return announcements.revoked(keys.handle_of(name), None, "revoked")

    for _ in range(MOST_PASSES):
        ended = yield from _purging(
            wanted, True, False, progress, Pace(None, patience), spared=kept, told=told if kept else None
        )
        ended += yield from walks.purge_moved(keys, wanted, kept, patience)
        total += ended
        if not ended:
            break
    if not kept:
        yield from operations.announce(keys, [announcements.all_revoked()])
    return total


def _has_begun(start: bytes, moment: int) -> bool:
    try:
        return header_of(start).created <= moment
    except CorruptRecord:
        return True


def _purging(
    wanted: Callable[[bytes], bool],
    concerns_users: bool,
    dry_run: bool,
    progress: Callable[[Progress], object],
    pace: Pace = AT_ONCE,
    place: Place | None = None,
    spared: str = "",
    told: Callable[[str], bytes] | None = None,
) -> Operation[int]:
    store = conf.store()
    counts = yield from walks.everywhere(
        lambda _: walks.purge(
            store.keys,
            wanted,
            dry_run=dry_run,
            progress=progress,
            spared=spared,
            told=told,
            pace=pace,
            place=place,
        )
    )
    if sum(counts) and concerns_users and store.settings.user_index and not dry_run:
        yield from indexes.tidy(store.keys, pace.patience)
    return sum(counts)


def _wanted(
    anonymous: bool, user: object, older_than: float | None, idle: float | None
) -> Callable[[bytes], bool]:
    return census.matching(
        now=time(),
        anonymous=anonymous,
        user=None if user is None else user_marker(user_id_of(user)),
        older_than=older_than,
        idle=idle,
    )


def _has_ended(answers: regions.Answers[Ended]) -> bool:
    """Whether a session was ended, which lives in one region; raises if it may be in one that is down."""
    if any(ended.names for ended in answers.results.values()):
        return True
    answers.all()
    return False


def _place(resume: str | None) -> Place | None:
    if resume is not None and len(regions.names()) > 1:
        raise ValueError("Where to go on is a place in one region: name it with regions.using().")
    return None if resume is None else Place.parsed(resume)


def _spare(keep: Any, now_us: int) -> None:
    if isinstance(keep, StoredSession):
        keep.outlive(now_us)


def _news(answers: regions.Answers[Ended], reason: str) -> list[Revoked]:
    handle_of = conf.store().keys.handle_of
    return [
        Revoked(handle_of(name), ended.user_id, reason)
        for ended in answers.results.values()
        for name in ended.names
    ]
