"""What do Django's other session engines hold, and how is a session put into one?

One class for each way to keep sessions. All of them use the engine's own code to read and to write
what it keeps, with the serializer that the project has; only what the engines do not offer, a list of
their sessions and what is left of a life, is looked up where they keep it. Blocking; ``afind()`` and its
like run in a thread, as Django's own twins of these engines do.

Failures are raised as ``OtherEngineUnavailable`` and never taken for "no session"; Django's cache engine
does that by itself, and is not asked in that way.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, SessionBase
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.utils import timezone

from django_redis_sessions.errors import (
    OtherEngineUnavailable,
    SessionStoreError,
    SessionStoreMisconfigured,
)
from django_redis_sessions.keys import escaped, is_plausible

T = TypeVar("T")
#: Tells from the data of a stored session whether another may take its place.
MayGo = Callable[[dict[str, Any]], bool]

#: How many sessions are read or written at a time.
BATCH = 500
OURS = "django_redis_sessions.backend"


@dataclass(frozen=True, slots=True)
class Found:
    """A live session of another engine: its data, and for how many seconds it still lives."""

    data: dict[str, Any]
    life: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A live session in an engine's list: what the engine keeps, not opened yet, and the seconds left."""

    session_key: str
    content: Any
    life: float


class Engine(ABC):
    """One of the engines, named by its dotted ``path``."""

    def __init__(self, path: str, store_class: type[SessionBase], alias: str | None = None) -> None:
        self.path = path
        self._class = store_class
        self._alias = alias

    # One session

    def find(self, session_key: str) -> Found | None:
        """The session with this key; None if there is none that lives, or it is empty or unreadable."""
        return self._guarded(self._find, session_key)

    async def afind(self, session_key: str) -> Found | None:
        """Async twin of ``find()``."""
        return await sync_to_async(self.find)(session_key)

    def exists(self, session_key: str) -> bool:
        """Whether there is a session with this key."""
        return bool(self._guarded(self._exists, session_key))

    async def aexists(self, session_key: str) -> bool:
        """Async twin of ``exists()``."""
        return await sync_to_async(self.exists)(session_key)

    def delete(self, session_key: str) -> None:
        """End the session with this key, if there is one."""
        self._guarded(self._delete, session_key)

    async def adelete(self, session_key: str) -> None:
        """Async twin of ``delete()``."""
        await sync_to_async(self.delete)(session_key)

    def put(self, sessions: dict[str, Found]) -> set[str]:
        """Store sessions under their keys; the keys of those that were not there before. None is overwritten."""
        return self._guarded(self._put, sessions)

    def replace(self, session_key: str, session: Found, may_go: MayGo) -> bool:
        """Store a session over the one that has its key, if there is one and its data ``may_go``; whether it did.

        In a database nobody writes between the look and the write; elsewhere that is a moment's chance.
        """
        return bool(self._guarded(self._replace, session_key, session, may_go))

    # All sessions

    def pages(self) -> Iterator[list[Listed]]:
        """Every live session, some at a time; ``SessionStoreMisconfigured`` where there is no list of them."""
        pages = self._guarded(self._pages)
        while (page := self._guarded(next, pages, None)) is not None:
            yield page

    def total(self) -> int | None:
        """How many there are, or somewhat more; None if that takes too long to find out."""
        return None

    def opened(self, content: Any) -> dict[str, Any]:
        """The data of a session of which a list gave the ``content``; ``{}`` if it is empty or unreadable."""
        return self._dict(self._new().decode(content))

    def present(self, session_keys: Sequence[str]) -> set[str]:
        """Which of these sessions are there."""
        return self._guarded(self._present, session_keys)

    # What the kinds differ in

    @abstractmethod
    def _find(self, session_key: str) -> Found | None: ...

    def _exists(self, session_key: str) -> bool:
        return bool(self._new().exists(session_key))

    def _delete(self, session_key: str) -> None:
        self._new().delete(session_key)

    def _put(self, sessions: dict[str, Found]) -> set[str]:
        raise SessionStoreMisconfigured(f"Nothing is known about how {self.path} keeps sessions.")

    def _replace(self, session_key: str, session: Found, may_go: MayGo) -> bool:
        raise SessionStoreMisconfigured(f"Nothing is known about how {self.path} keeps sessions.")

    def _pages(self) -> Iterator[list[Listed]]:
        raise SessionStoreMisconfigured(
            f"Nothing is known about how {self.path} keeps sessions, so there is no list of them. "
            f"{_FALLBACK_HINT.format(self.path)}"
        )

    def _present(self, session_keys: Sequence[str]) -> set[str]:
        return {session_key for session_key in session_keys if self._exists(session_key)}

    # Parts

    def _may_go(self, session_key: str, may_go: MayGo) -> bool:
        there = self._find(session_key)
        return self._exists(session_key) if there is None else may_go(there.data)

    def _new(self, session_key: str | None = None) -> Any:
        return self._class(session_key)

    def _usual_life(self, data: dict[str, Any]) -> float:
        return float(self._new().get_expiry_age(expiry=data.get("_session_expiry")))

    @staticmethod
    def _dict(data: Any) -> dict[str, Any]:
        return data if isinstance(data, dict) else {}

    def _guarded(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except (SessionStoreError, SynchronousOnlyOperation):
            raise
        except Exception as error:  # whatever databases, caches and other people's engines raise
            raise OtherEngineUnavailable(self.path, error) from error


class Unknown(Engine):
    """An engine that is none of Django's: asked as Django asks it, with its own twins."""

    async def afind(self, session_key: str) -> Found | None:
        """Async twin of ``find()``."""
        store = self._new(session_key)
        try:
            data = self._dict(await store.aload())
        except Exception as error:  # as in _guarded()
            raise OtherEngineUnavailable(self.path, error) from error
        return self._found(store, data)

    def _find(self, session_key: str) -> Found | None:
        store = self._new(session_key)
        return self._found(store, self._dict(store.load()))

    def _found(self, store: Any, data: dict[str, Any]) -> Found | None:
        return Found(data, self._usual_life(data)) if data and store.session_key is not None else None


class Database(Engine):
    """``db``, ``cached_db`` and engines that are made from them: a row says when the session ends."""

    def _find(self, session_key: str) -> Found | None:
        now = timezone.now()
        rows = self._live(now).filter(session_key=session_key)
        for content, expires in rows.values_list("session_data", "expire_date"):
            if data := self.opened(content):
                return Found(data, (expires - now).total_seconds())
        return None

    def total(self) -> int | None:
        """As ``Engine.total()``."""
        return self._guarded(lambda: int(self._live(timezone.now()).count()))

    def _pages(self) -> Iterator[list[Listed]]:
        # From key to key: each page is found through the primary key, however far it is, and nothing is
        # left open in the database meanwhile.
        last = ""
        while True:
            now = timezone.now()
            rows = self._live(now).filter(session_key__gt=last).order_by("session_key")
            found = list(rows.values_list("session_key", "session_data", "expire_date")[:BATCH])
            if not found:
                return
            last = found[-1][0]
            yield [Listed(key, content, (expires - now).total_seconds()) for key, content, expires in found]

    def _present(self, session_keys: Sequence[str]) -> set[str]:
        return set(self._rows().filter(session_key__in=session_keys).values_list("session_key", flat=True))

    def _put(self, sessions: dict[str, Found]) -> set[str]:
        new = set(sessions) - self._present([*sessions])
        rows = [self._row(session_key, sessions[session_key]) for session_key in new]
        self._rows().bulk_create(rows, ignore_conflicts=True)
        return new

    def _replace(self, session_key: str, session: Found, may_go: MayGo) -> bool:
        row = self._row(session_key, session)
        rows = self._rows().filter(session_key=session_key)
        for content, expires in rows.values_list("session_data", "expire_date"):
            data = self.opened(content)
            if data and expires > timezone.now() and not may_go(data):
                return False
            seen = rows.filter(session_data=content)
            if seen.update(session_data=row.session_data, expire_date=row.expire_date):
                store = self._new(session_key)
                if hasattr(store, "cache_key"):  # of cached_db, which reads the cache first
                    store._cache.delete(store.cache_key)
                return True
        return False

    def _row(self, session_key: str, session: Found) -> Any:
        store = self._new(session_key)
        store._session_cache = session.data
        row = store.create_model_instance(session.data)
        row.expire_date = timezone.now() + timedelta(seconds=session.life)
        return row

    def _rows(self) -> Any:
        return self._new().model.objects

    def _live(self, now: datetime) -> Any:
        return self._rows().filter(expire_date__gt=now)


class Cache(Engine):
    """``cache``: only a cache on Redis can list its keys and say how long they live."""

    def _new(self, session_key: str | None = None) -> Any:
        store = super()._new(session_key)
        if self._alias is not None:
            store._cache = caches[self._alias]
        return store

    def opened(self, content: Any) -> dict[str, Any]:
        """As ``Engine.opened()``; the cache has unpacked it already, in whatever way the project uses it."""
        return self._dict(content)

    def _find(self, session_key: str) -> Found | None:
        store = self._new()
        name = self._name(session_key)
        data = self._dict(store._cache.get(name))
        if not data:
            return None
        life = self._lives([name])[0]
        return Found(data, self._usual_life(data) if life is None else life)

    def _pages(self) -> Iterator[list[Listed]]:
        store, redis = self._new(), self._redis()
        if redis is None:
            kind = type(store._cache).__name__
            raise SessionStoreMisconfigured(
                f"A cache of the kind {kind} has no list of its keys, so nobody can tell which sessions it "
                f"holds. {_FALLBACK_HINT.format(self.path)}"
            )
        marker = self._name("*")
        pattern = store._cache.make_key(marker)
        if not pattern.endswith(marker):
            raise SessionStoreMisconfigured(
                f"The cache's KEY_FUNCTION does not put the key at the end, so sessions cannot be told from "
                f"other values. {_FALLBACK_HINT.format(self.path)}"
            )
        start = pattern[:-1]
        names_found = (
            key if isinstance(key, str) else key.decode(errors="replace")
            for key in redis.scan_iter(match=f"{escaped(start)}*", count=BATCH)
        )
        found = (name[len(start) :] for name in names_found if is_plausible(name[len(start) :]))
        while session_keys := list(islice(found, BATCH)):
            names = [self._name(session_key) for session_key in session_keys]
            contents = store._cache.get_many(names)
            page = []
            for session_key, name, life in zip(session_keys, names, self._lives(names), strict=True):
                # The others have gone since the SCAN.
                if name in contents:
                    data = self._dict(contents[name])
                    page.append(Listed(session_key, data, self._usual_life(data) if life is None else life))
            yield page

    def _put(self, sessions: dict[str, Found]) -> set[str]:
        store = self._new()
        return {
            session_key
            for session_key, found in sessions.items()
            if store._cache.add(self._name(session_key), found.data, max(1, int(found.life)))
        }

    def _replace(self, session_key: str, session: Found, may_go: MayGo) -> bool:
        if not self._may_go(session_key, may_go):
            return False
        self._new()._cache.set(self._name(session_key), session.data, max(1, int(session.life)))
        return True

    def _name(self, session_key: str) -> str:
        return f"{self._class.cache_key_prefix}{session_key}"  # type: ignore[attr-defined]  # Django's cache engine

    def _lives(self, names: list[str]) -> list[float | None]:
        """What is left of each, in seconds; None where the cache does not say."""
        redis = self._redis()
        if redis is None:
            return [None] * len(names)
        return [life / 1000 if life >= 0 else None for life in self._replies(redis, "PTTL", names)]

    def _present(self, session_keys: Sequence[str]) -> set[str]:
        redis = self._redis()
        if redis is None:
            return super()._present(session_keys)
        replies = self._replies(redis, "EXISTS", [self._name(session_key) for session_key in session_keys])
        return {session_key for session_key, reply in zip(session_keys, replies, strict=True) if reply}

    def _replies(self, redis: Any, command: str, names: list[str]) -> list[int]:
        """What the server says of each, in one round trip."""
        used = self._new()._cache
        with redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.execute_command(command, used.make_key(name))
            return list(pipeline.execute())

    def _redis(self) -> Any:
        """redis-py's client for the server that this cache writes to; None if it is not on one Redis."""
        used = self._new()._cache
        kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(used).__mro__}
        if "django.core.cache.backends.redis.RedisCache" in kinds:
            return used._cache.get_client(None, write=True)
        if "django_redis.cache.RedisCache" in kinds and hasattr(used.client, "get_client"):
            return used.client.get_client(write=True)
        return None


class Files(Engine):
    """``file``: a session's life counts from when its file was written. Its keys name files, and few letters do."""

    def _exists(self, session_key: str) -> bool:
        return self._fits(session_key) and super()._exists(session_key)

    def _delete(self, session_key: str) -> None:
        if self._fits(session_key):
            super()._delete(session_key)

    def _find(self, session_key: str) -> Found | None:
        if not self._fits(session_key):
            return None
        store = self._new(session_key)
        try:
            with open(store._key_to_file(), encoding="ascii") as file:
                content = file.read()
            if not (data := self.opened(content) if content else {}):
                return None
            life = float(store.get_expiry_age(expiry=store._expiry_date(data)))
        except FileNotFoundError:
            return None
        return Found(data, life) if life > 0 else None

    def opened(self, content: Any) -> dict[str, Any]:
        """As ``Engine.opened()``; a list gives what ``find()`` does."""
        return content.data if isinstance(content, Found) else super().opened(content)

    def _pages(self) -> Iterator[list[Listed]]:
        store = self._new()
        start = store.file_prefix
        with os.scandir(store.storage_path) as files:
            named = (file.name[len(start) :] for file in files if file.name.startswith(start))
            keys = iter([name for name in named if is_plausible(name) and name.isalnum()])
        while session_keys := list(islice(keys, BATCH)):
            found = [(session_key, self._find(session_key)) for session_key in session_keys]
            yield [Listed(session_key, each, each.life) for session_key, each in found if each is not None]

    def _put(self, sessions: dict[str, Found]) -> set[str]:
        fitting = [(session_key, found) for session_key, found in sessions.items() if self._fits(session_key)]
        return {session_key for session_key, found in fitting if self._create(session_key, found)}

    @staticmethod
    def _fits(session_key: str) -> bool:
        """Whether Django's engine takes this for a session key; it raises an error for any other."""
        return set(session_key) <= set(VALID_KEY_CHARS)

    def _replace(self, session_key: str, session: Found, may_go: MayGo) -> bool:
        if not self._may_go(session_key, may_go):
            return False
        self._write(session_key, session, must_create=False)
        return True

    def _create(self, session_key: str, found: Found) -> bool:
        try:
            self._write(session_key, found, must_create=True)
        except CreateError:
            return False
        return True

    def _write(self, session_key: str, found: Found, must_create: bool) -> None:
        store = self._new(session_key)
        store._session_cache = found.data
        store.save(must_create=must_create)
        written = timezone.now().timestamp() + found.life - store.get_session_cookie_age()
        os.utime(store._key_to_file(), (written, written))


_FALLBACK_HINT = (
    "Name it in SESSION_REDIS['FALLBACK_ENGINES'] instead ({}), and each comes when its visitor does."
)
_KINDS = (
    ("django.contrib.sessions.backends.db", Database),
    ("django.contrib.sessions.backends.cache", Cache),
    ("django.contrib.sessions.backends.file", Files),
)


def engine(path: str, alias: str | None = None) -> Engine:
    """The engine with this dotted path; ``alias`` is the cache that ``cache`` uses, if not the project's.

    ``SessionStoreMisconfigured`` if it cannot be imported, or sessions cannot be moved from it.
    """
    store_class = _imported(path)
    for base, kind in _KINDS:
        if base in {parent.__module__ for parent in store_class.__mro__}:
            if alias is not None and kind is not Cache:
                raise SessionStoreMisconfigured(f"{path} does not keep its sessions in one of CACHES.")
            return kind(path, store_class, alias)
    return Unknown(path, store_class)


@cache
def _imported(path: str) -> type[SessionBase]:
    try:
        store_class = import_module(path).SessionStore
    except (ImportError, AttributeError) as error:
        raise SessionStoreMisconfigured(f"{path} is no session engine: {error}.") from error
    if issubclass(store_class, SignedCookies):
        raise SessionStoreMisconfigured(
            f"{path} keeps nothing on the server: each session is in its visitor's browser, whole, in place of "
            f"a session key. There is nothing to move from and nowhere to move to."
        )
    if path == OURS or f"{store_class.__module__}" == OURS:
        raise SessionStoreMisconfigured(f"{path} is the engine that is moved to or from already.")
    return store_class  # type: ignore[no-any-return]  # by the contract of engines
