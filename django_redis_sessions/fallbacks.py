"""Which sessions are still in the engines that a site comes from?

``FALLBACK_ENGINES`` names them. Who is not found here is looked for there, and stored here under the same
session key with what is left of their life. The copy there stays, so that processes which still use that
engine find it, until the session ends: then it ends in both. Operations that ask other engines between
what they say to Redis; none of them says or asks anything where ``FALLBACK_ENGINES`` is empty.
"""

from __future__ import annotations

import logging
from time import time
from typing import TypeVar

from django_redis_sessions import arrivals, conf
from django_redis_sessions.configuration import SETTING, Problem
from django_redis_sessions.engines import Engine, engine
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionTooLarge
from django_redis_sessions.operations import Elsewhere, Located, Operation, Outcome
from django_redis_sessions.store import Store
from django_redis_sessions.stored import StoredSession

#: Why a session is not adopted that may not be stored.
TOO_LARGE = "it is larger than MAX_SIZE"

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")


def arriving(session: StoredSession, store: Store, session_key: str) -> Operation[Located | None]:
    """The record of a session that is missed here, if one of the engines has it; it is stored here by now.

    One round trip and a question to each engine; for a session that is found there two round trips and
    a question more. ``OtherEngineUnavailable`` if one cannot answer: that is not "no session".
    """
    if not store.settings.fallback_engines or not store.keys.accepts(session_key):
        return None
    # Another request may have adopted it since this one looked.
    found, was_here = yield from arrivals.standing(store.keys, session_key)
    if found is not None or was_here:
        return found
    for other in engines(store):
        record = yield from _adopting(session, store, other, session_key)
        if record is not None:
            return Located(store.keys.name(session_key), record)
    return None


def is_there(store: Store, session_key: str) -> Operation[bool]:
    """Whether a session that is missed here would be adopted. One round trip and a question to each engine."""
    if not store.settings.fallback_engines or not store.keys.accepts(session_key):
        return False
    found, was_here = yield from arrivals.standing(store.keys, session_key)
    if found is not None or was_here:
        return found is not None
    for other in engines(store):
        if (yield Elsewhere(lambda: other.exists(session_key), lambda: other.aexists(session_key))):  # noqa: B023 - asked at once
            return True
    return False


def ending(store: Store, session_key: str, longest_life: int, here: Operation[T]) -> Operation[T]:
    """``here``, which ends a session, and its end in the engines. One round trip and a question to each more.

    First it is seen to that nobody who is just adopting or importing the session brings it back.
    """
    if not store.settings.fallback_engines or not store.keys.accepts(session_key):
        return (yield from here)
    yield from arrivals.bar(store.keys, session_key, longest_life + arrivals.MARK_GRACE)
    result = yield from here
    for other in engines(store):
        yield Elsewhere(lambda: other.delete(session_key), lambda: other.adelete(session_key))  # noqa: B023 - asked at once
    return result


def engines(store: Store) -> list[Engine]:
    """The engines that ``FALLBACK_ENGINES`` names."""
    return [engine(path) for path in store.settings.fallback_engines]


def problem() -> Problem | None:
    """What is wrong with an engine that ``FALLBACK_ENGINES`` names. Imports it."""
    try:
        engines(conf.store())
    except SessionStoreMisconfigured as error:
        return Problem("E006", f"{SETTING}['FALLBACK_ENGINES'] cannot be used: {error}")
    return None


def _adopting(
    session: StoredSession, store: Store, other: Engine, session_key: str
) -> Operation[bytes | None]:
    found = yield Elsewhere(lambda: other.find(session_key), lambda: other.afind(session_key))
    if found is None:
        return None
    now = int(time())
    try:
        arrival = session.arrival(session_key, found.data, found.life, now)
    except SessionTooLarge as error:
        # With an error its visitor could use no page; raising MAX_SIZE lets it come.
        _log.warning("A session was not adopted: %s", error)
        if store.metrics is not None:
            store.metrics.tell("discarded", TOO_LARGE)
        return None
    if arrival is None:
        return None
    outcome = yield from arrivals.adopt(store.keys, arrival)
    if isinstance(outcome, bytes):
        return outcome
    if outcome is not Outcome.DONE:
        return None
    # A process that still uses the other engine may have ended it there meanwhile.
    if not (yield Elsewhere(lambda: other.exists(session_key), lambda: other.aexists(session_key))):
        yield from arrivals.withdraw(store.keys, [arrival])
        return None
    yield from arrivals.note(store.keys, now)
    return arrival.record
