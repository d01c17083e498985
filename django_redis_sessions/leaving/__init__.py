"""How does a site leave for another session engine without signing anybody out?

``SESSION_ENGINE = "django_redis_sessions.leaving.db"`` (or ``cached_db``, ``cache``, ``file``) is Django's
engine of that name, which looks for a session that it does not know in the Redis that ``SESSION_REDIS``
names, and keeps it from then on. Once nobody comes from there any more, Django's own takes its place.
Keys hashed or plain: the visitor's cookie tells the session key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase

from django_redis_sessions import announcements, arrivals, conf, operations
from django_redis_sessions.arrivals import BARRED, GONE
from django_redis_sessions.departures import copy, has_changed, left
from django_redis_sessions.engines import engine
from django_redis_sessions.executors import run

if TYPE_CHECKING:
    _Base = SessionBase
else:
    _Base = object


class Leaving(_Base):
    """Put in front of one of Django's engines, whose dotted path is ``target``."""

    target: str

    def load(self) -> dict[str, Any]:
        """As Django's engine; a session that is still in Redis is fetched from there first, once."""
        session_key = self.session_key
        if conf.store_of(session_key).keys.accepts(session_key):
            _bring(self.target, session_key)
        return dict(super().load())

    async def aload(self) -> dict[str, Any]:
        """Async twin of ``load()``; in a thread."""
        return await sync_to_async(self.load)()

    def exists(self, session_key: str) -> bool:
        """As Django's engine, or in Redis."""
        return bool(super().exists(session_key)) or _is_here(session_key)

    async def aexists(self, session_key: str) -> bool:
        """Async twin of ``exists()``; in a thread."""
        return await sync_to_async(self.exists)(session_key)

    def delete(self, session_key: str | None = None) -> None:
        """End the session in both."""
        ended = self.session_key if session_key is None else session_key
        if conf.store_of(ended).keys.accepts(ended):
            _end(ended)
        super().delete(session_key)

    async def adelete(self, session_key: str | None = None) -> None:
        """Async twin of ``delete()``; in a thread."""
        await sync_to_async(self.delete)(session_key)


def _bring(target: str, session_key: str) -> None:
    """Put the session that is here under this key into the other engine, and end there what has ended here."""
    store = conf.store_of(session_key)
    client = store.connections.client()
    here, mark = run(client, arrivals.both(store.keys, session_key))
    if mark == GONE or (here is None and mark is None):
        # It has been fetched, or has never been here.
        return
    other = engine(target)
    if mark != BARRED and has_changed(other.find(session_key), mark):
        return
    found = left(*here) if here is not None else None
    if found is None:
        # What is there is the copy of a session that has ended here.
        other.delete(session_key)
        return
    known = {session_key} if other.exists(session_key) else set()
    if not copy(other, {session_key: found}, known, {session_key: mark}) and not known:
        # There is no room for this one there, or somebody else has just brought it.
        return
    run(client, arrivals.mark_gone(store.keys, {session_key: int(found.life)}))
    if not _is_here(session_key):
        # Signed out here meanwhile, by a process that still uses this engine.
        other.delete(session_key)


def _is_here(session_key: str) -> bool:
    store = conf.store_of(session_key)
    return run(store.connections.client(), operations.exists(store.keys, session_key))


def _end(session_key: str) -> None:
    store = conf.store_of(session_key)
    announcement = announcements.revoked(store.keys.handle(session_key), None, "logout")
    run(store.connections.client(), operations.end_whosever(store.keys, session_key, announcement))
