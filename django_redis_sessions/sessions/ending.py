"""How are sessions ended by somebody else than their visitor?"""

from __future__ import annotations

from collections.abc import Callable
from time import time, time_ns
from typing import Any

from django_redis_sessions import announcements, census, conf, indexes, operations, signals, walks
from django_redis_sessions.announcements import Revoked
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.executors import arun, run
from django_redis_sessions.footing import AT_ONCE, Pace, Place
from django_redis_sessions.indexes import Ended
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import Operation
from django_redis_sessions.records import header_of
from django_redis_sessions.sessions.looking import named
from django_redis_sessions.sessions.shown import names_of, needs_index, user_id_in, user_id_of
from django_redis_sessions.stored import StoredSession
from django_redis_sessions.walks import Progress

#: ``revoke_all()`` goes through all sessions until it meets none that is meant, at most so often.
MOST_PASSES = 10


def revoke(handle: str, reason: str = "revoked") -> bool:
    """End the session with this handle; False if there is none. No request that is under way revives it.

    Three round trips. A session that moves to another key at this moment is followed.
    """
    ended = run(conf.store().connections.client(), _revoking(handle, reason))
    signals.tell(SessionStore, _news(ended, reason))
    return bool(ended.names)


async def arevoke(handle: str, reason: str = "revoked") -> bool:
    """Async twin of ``revoke()``."""
    ended = await arun(conf.store().connections.async_client(), _revoking(handle, reason))
    await signals.atell(SessionStore, _news(ended, reason))
    return bool(ended.names)


def revoke_user(
    user: object, keep: Any = None, reason: str = "revoked", *, keep_handle: str | None = None
) -> int:
    """End all of a user's sessions; their number. ``user`` is a model instance or a primary key.

    ``keep``, a session object or a session key, stays, and so does what its request signs in from now
    on; ``keep_handle`` spares the session with this handle. Requests that have begun before, sign-ins too,
    cannot bring a session of the user about any more; where machines' clocks differ, by that much more or
    less. Six round trips, four more for each 100 sessions beyond 100. ``SessionStoreMisconfigured`` where
    ``USER_INDEX`` is off.
    """
    now_us = time_ns() // 1000
    revoking = _revoking_user(user, keep, reason, now_us, keep_handle)
    ended = run(conf.store().connections.client(), revoking)
    _spare(keep, now_us)
    signals.tell(SessionStore, _news(ended, reason))
    return len(ended.names)


async def arevoke_user(
    user: object, keep: Any = None, reason: str = "revoked", *, keep_handle: str | None = None
) -> int:
    """Async twin of ``revoke_user()``."""
    now_us = time_ns() // 1000
    revoking = _revoking_user(user, keep, reason, now_us, keep_handle)
    ended = await arun(conf.store().connections.async_client(), revoking)
    _spare(keep, now_us)
    await signals.atell(SessionStore, _news(ended, reason))
    return len(ended.names)


def revoke_all(
    progress: Callable[[Progress], object] = bool, *, keep_handle: str | None = None, patience: float = 0
) -> int:
    """End every session that has begun before now, of whomever; their number.

    Goes through all of them again until none is left, so that none escapes by moving to another key. Some
    round trips for each 500 keys of the database, twice at least. Sends no signal for each of them.
    ``keep_handle`` spares one session, under the key that it has now. ``patience`` as in ``purge()``.
    """
    return run(conf.store().connections.client(), _revoking_all(progress, keep_handle, patience))


async def arevoke_all(
    progress: Callable[[Progress], object] = bool, *, keep_handle: str | None = None, patience: float = 0
) -> int:
    """Async twin of ``revoke_all()``."""
    revoking = _revoking_all(progress, keep_handle, patience)
    return await arun(conf.store().connections.async_client(), revoking)


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
    to give for it later to go on; ``ValueError`` for anything else. Numbers are those of one call.
    """
    wanted = _wanted(anonymous, user, older_than, idle)
    place = None if resume is None else Place.parsed(resume)
    purging = _purging(wanted, not anonymous, dry_run, progress, Pace(rate, patience), place)
    return run(conf.store().connections.client(), purging)


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
    wanted = _wanted(anonymous, user, older_than, idle)
    place = None if resume is None else Place.parsed(resume)
    purging = _purging(wanted, not anonymous, dry_run, progress, Pace(rate, patience), place)
    return await arun(conf.store().connections.async_client(), purging)


def _revoking(handle: str, reason: str) -> Operation[Ended]:
    name = yield from named(handle)
    if name is None:
        return Ended([], None)
    store = conf.store()
    return (
        yield from indexes.revoke(store.keys, name, user_id_in, reason, has_index=store.settings.user_index)
    )


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
    progress: Callable[[Progress], object], keep_handle: str | None, patience: float
) -> Operation[int]:
    keys = conf.store().keys
    kept = (yield from named(keep_handle or "")) or ""
    begun = int(time())
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


def _spare(keep: Any, now_us: int) -> None:
    if isinstance(keep, StoredSession):
        keep.outlive(now_us)


def _news(ended: Ended, reason: str) -> list[Revoked]:
    handle_of = conf.store().keys.handle_of
    return [Revoked(handle_of(name), ended.user_id, reason) for name in ended.names]
