"""How does each contender do each piece of work?

What Django does during one request, without Django's handler around it. The bare clients move the
very bytes that this package stores, with the commands that would do at the least; they neither
encode nor decode a session, notice no rival and no logout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import count
from typing import Any, Protocol

import redis

from benchmarks.contenders import RAW, REDIS_PY, THIS, Contender
from benchmarks.content import ANONYMOUS, LOGIN, Content
from benchmarks.traffic import RawConnection
from django_redis_sessions import conf

#: Two weeks, Django's SESSION_COOKIE_AGE.
LIFE = 1_209_600


class Worker(Protocol):
    """One contender at work. Whatever makes a session gives its key."""

    def create(self, content: Content) -> str:
        """A request that begins a session."""

    def load(self, key: str) -> object:
        """A request that reads its session."""

    def save(self, key: str) -> object:
        """A request that reads its session and changes one key."""

    def touch(self, key: str) -> object:
        """A request that reads its session, under SESSION_SAVE_EVERY_REQUEST."""

    def delete(self, key: str) -> object:
        """The end of a session."""

    def sign_in(self, key: str) -> str:
        """A request that signs in a visitor who has a cart already, as ``django.contrib.auth.login`` does."""


class EngineWorker:
    """Any session engine of Django's kind."""

    def __init__(self, contender: Contender) -> None:
        self._store = contender.session_store()
        self._number = count(2)

    def create(self, content: Content) -> str:
        session = self._store()
        session.update(content)
        session.save()
        return str(session.session_key)

    def load(self, key: str) -> object:
        return found(self._store(key).load())

    def save(self, key: str) -> object:
        session = self._store(key)
        session["visits"] = next(self._number)
        return session.save()

    def touch(self, key: str) -> object:
        session = self._store(key)
        session.get("visits")
        return session.save()

    def delete(self, key: str) -> object:
        return self._store(key).delete()

    def sign_in(self, key: str) -> str:
        session = self._store(key)
        session.get("_auth_user_id")
        session.cycle_key()
        session["_auth_user_id"] = LOGIN["_auth_user_id"]
        session["_auth_user_backend"] = LOGIN["_auth_user_backend"]
        session["_auth_user_hash"] = LOGIN["_auth_user_hash"]
        session.save()
        return str(session.session_key)


def found(data: Content) -> Content:
    """``data``, unless it is empty: Django's cache engines take a failure for a visitor without a session."""
    if not data:
        raise RuntimeError("A session was not found, so what was measured is worth nothing.")
    return data


class BareWorker(ABC):
    """Stored bytes by name, for the floor and for redis-py."""

    def __init__(self, prefix: str, records: _Records) -> None:
        self._names = (f"{prefix}:{number:032}" for number in count())
        self._records = records
        self._record = b""
        self._signed_in = records.of({**LOGIN, **ANONYMOUS})

    def create(self, content: Content) -> str:
        self._record = self._records.of(content)
        return self._create(next(self._names))

    @abstractmethod
    def _create(self, name: str) -> str:
        """Store the record under this name; the name."""


class RawWorker(BareWorker):
    """The floor: hand-written commands on a socket."""

    def __init__(self, path: str) -> None:
        super().__init__("raw", _Records())
        self._connection = RawConnection(path)
        self._command = self._connection.command

    def _create(self, name: str) -> str:
        self._command("SET", name, self._record, "NX", "EX", LIFE)
        return name

    def load(self, key: str) -> object:
        return self._command("GET", key)

    def save(self, key: str) -> object:
        return self._command("SET", key, self._command("GET", key), "XX", "EX", LIFE)

    def touch(self, key: str) -> object:
        self._command("GET", key)
        return self._command("EXPIRE", key, LIFE)

    def delete(self, key: str) -> object:
        return self._command("UNLINK", key)

    def sign_in(self, key: str) -> str:
        name = next(self._names)
        record = self._command("GET", key)
        self._connection.pipeline(("SET", name, record, "NX", "EX", LIFE), ("UNLINK", key))
        self._command("SET", name, self._signed_in, "XX", "EX", LIFE)
        return name


class RedisPyWorker(BareWorker):
    """The same with redis-py's client as it comes."""

    def __init__(self, path: str) -> None:
        super().__init__("redis-py", _Records())
        self._client: Any = redis.Redis(unix_socket_path=path)

    def _create(self, name: str) -> str:
        self._client.set(name, self._record, nx=True, ex=LIFE)
        return name

    def load(self, key: str) -> object:
        return self._client.get(key)

    def save(self, key: str) -> object:
        return self._client.set(key, self._client.get(key), xx=True, ex=LIFE)

    def touch(self, key: str) -> object:
        self._client.get(key)
        return self._client.expire(key, LIFE)

    def delete(self, key: str) -> object:
        return self._client.unlink(key)

    def sign_in(self, key: str) -> str:
        name = next(self._names)
        record = self._client.get(key)
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.set(name, record, nx=True, ex=LIFE).unlink(key).execute()
        self._client.set(name, self._signed_in, xx=True, ex=LIFE)
        return name


class _Records:
    """The bytes that this package would store; remembered, so that asking again costs next to nothing."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Content, bytes]] = {}

    def of(self, content: Content) -> bytes:
        if id(content) not in self._known:
            self._known[id(content)] = content, record_of(content)
        return self._known[id(content)][1]


def record_of(content: Content) -> bytes:
    """The record that this package stores for a session with this content."""
    THIS.turn_to()
    session = THIS.session_store()()
    session.update(content)
    session.save()
    store = conf.store()
    record: bytes = store.connections.client().execute(("GET", store.keys.record(session.session_key)))
    session.delete()
    return record


def worker(contender: Contender, path: str) -> Worker:
    """The contender, ready to work on the server behind this socket."""
    if contender == RAW:
        return RawWorker(path)
    if contender == REDIS_PY:
        return RedisPyWorker(path)
    return EngineWorker(contender)
