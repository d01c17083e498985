"""What does Django call to keep its sessions in Redis?

``SESSION_ENGINE = "django_redis_sessions.backend"``. The twins here say which operation answers
which method of Django's; the rules are in the modules below.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import cache
from time import time
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, SessionBase, UpdateError
from django.contrib.sessions.serializers import JSONSerializer
from django.utils import timezone
from django.utils.crypto import get_random_string

from django_redis_sessions import conf, keys, operations, records
from django_redis_sessions import expiry as expiring
from django_redis_sessions.connections import AwaitingClient, BlockingClient
from django_redis_sessions.errors import CorruptRecord, SessionStoreRefused
from django_redis_sessions.executors import arun, run
from django_redis_sessions.operations import Operation
from django_redis_sessions.store import Store

_suspicious = logging.getLogger("django.security.SuspiciousSession")

_USER_ID = "_auth_user_id"
_EXPIRY = "_session_expiry"


class SessionStore(SessionBase):
    """A session in Redis: one record, one round trip for each method.

    Every method that speaks to Redis raises ``SessionStoreError`` when Redis fails; a failure is
    never taken for an empty session.
    """

    if TYPE_CHECKING:  # django-stubs leaves out what engines are built from
        _session_cache: dict[str, Any]

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    #: The header of the record this session was loaded from or last written as.
    _header: records.Header | None = None

    # Reading

    def load(self) -> dict[str, Any]:
        """The stored session data; ``{}`` and no session key when there is none. One round trip."""
        return self._opened(run(_client(), operations.read(_store().keys, self.session_key)))

    async def aload(self) -> dict[str, Any]:
        """Async twin of ``load()``."""
        return self._opened(await arun(_async_client(), operations.read(_store().keys, self.session_key)))

    def exists(self, session_key: str | None) -> bool:
        """Whether a session with this key is stored. One round trip, none for text that is no key."""
        return run(_client(), operations.exists(_store().keys, session_key))

    async def aexists(self, session_key: str | None) -> bool:
        """Async twin of ``exists()``."""
        return await arun(_async_client(), operations.exists(_store().keys, session_key))

    # Writing

    def create(self) -> None:
        """Store this session's data as a new session under a new key. One round trip."""
        self._get_session(no_load=True)
        run(_client(), self._creating())

    async def acreate(self) -> None:
        """Async twin of ``create()``."""
        await self._aget_session(no_load=True)
        await arun(_async_client(), self._creating())

    def save(self, must_create: bool = False) -> None:
        """Store this session's data. One round trip, and one before it if nothing was loaded yet.

        Raises ``CreateError`` when ``must_create`` and the key is taken, ``UpdateError`` when the
        session was deleted meanwhile: it is never brought back.
        """
        session_key = self.session_key
        self._get_session(no_load=must_create)
        run(_client(), self._saving(session_key, must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Async twin of ``save()``."""
        session_key = self.session_key
        await self._aget_session(no_load=must_create)
        await arun(_async_client(), self._saving(session_key, must_create))

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, by default this one. One round trip."""
        run(_client(), self._deleting(session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """Async twin of ``delete()``."""
        await arun(_async_client(), self._deleting(session_key))

    def flush(self) -> None:
        """Forget the data and the key, and end the stored session. One round trip."""
        super().flush()
        self._header = None

    async def aflush(self) -> None:
        """Async twin of ``flush()``."""
        await super().aflush()
        self._header = None

    def cycle_key(self) -> None:
        """Move the session to a new key; the old one is worthless at once. Two round trips."""
        self._get_session()
        run(_client(), self._cycling())

    async def acycle_key(self) -> None:
        """Async twin of ``cycle_key()``."""
        await self._aget_session()
        await arun(_async_client(), self._cycling())

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: Redis forgets expired sessions itself."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Async twin of ``clear_expired()``."""

    # Lifetime

    def get_session_cookie_age(self) -> int:
        """Idle life in seconds unless ``set_expiry()`` says otherwise: ``TTL``, or SESSION_COOKIE_AGE."""
        ttl = _store().settings.ttl
        return super().get_session_cookie_age() if ttl is None else ttl

    def get_expiry_age(self, **kwargs: Any) -> float:  # type: ignore[override]  # set_expiry(1.5) is allowed
        """Seconds until the session ends; arguments as in Django."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = self.get(_EXPIRY)
        return super().get_expiry_age(**_comparable(**kwargs))

    async def aget_expiry_age(self, **kwargs: Any) -> float:  # type: ignore[override]  # as above
        """Async twin of ``get_expiry_age()``."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = await self.aget(_EXPIRY)
        return super().get_expiry_age(**_comparable(**kwargs))

    async def adelete_test_cookie(self) -> None:
        """Async twin of ``delete_test_cookie()``; unlike Django's, it marks the session modified."""
        await super().adelete_test_cookie()
        self.modified = True

    # Rules shared by the twins

    def _opened(self, record: bytes | None) -> dict[str, Any]:
        """What a record says, and ``{}`` for one that is missing or unreadable."""
        if record is None:
            self._session_key = None
            self._header = None
            return {}
        try:
            self._header, payload = _store().codec.open(record)
            return self._deserialized(payload, self._header.serializer)
        except CorruptRecord as error:
            _suspicious.warning(
                "Session data corrupted (session %s): %s", keys.digest(self.session_key or ""), error
            )
            return {}

    def _deserialized(self, payload: bytes, serializer: int) -> dict[str, Any]:
        reader = self.serializer
        if serializer != _tag(reader):
            # Written under another SESSION_SERIALIZER: JSON is safe to read, nothing else is.
            if serializer != records.JSON:
                raise CorruptRecord("it was written by a serializer that SESSION_SERIALIZER does not name")
            reader = JSONSerializer
        try:
            data = reader().loads(payload)
        except Exception as error:  # whatever the project's serializer raises on bytes it cannot read
            raise CorruptRecord("its body cannot be deserialized") from error
        if not isinstance(data, dict):
            raise CorruptRecord("its body is no dict")
        return data

    def _sealed(self) -> tuple[bytes, int | None]:
        """The loaded data as a record, and the ttl to store it with."""
        data = self._session_cache
        now = int(time())
        ttl = expiring.ttl_for(self.get_expiry_age())
        user_id = data.get(_USER_ID)
        user = b"" if user_id is None else keys.user_marker(str(user_id))
        known = self._header
        self._header = records.Header(
            # A sign-in begins a life of its own.
            created=known.created if known is not None and known.user == user else now,
            touched=now,
            ttl=ttl or 0,
            user=user,
            serializer=_tag(self.serializer),
        )
        return _store().codec.seal(self.serializer().dumps(data), self._header), ttl

    def _creating(self) -> Operation[None]:
        record, ttl = self._sealed()
        created = yield from operations.create_under_new_key(_store().keys, _new_session_key, record, ttl)
        if created is None:
            raise SessionStoreRefused("No unused session key was found. Check the source of randomness.")
        self._session_key = created
        self.modified = True

    def _saving(self, session_key: str | None, must_create: bool) -> Operation[None]:
        """``session_key`` is the one before the data was loaded: a miss then has taken it away."""
        if session_key is None:
            yield from self._creating()
            return
        if self.session_key is None:
            raise UpdateError
        record, ttl = self._sealed()
        if must_create:
            if not (yield from operations.create(_store().keys, session_key, record, ttl)):
                raise CreateError
        elif not (yield from operations.replace(_store().keys, session_key, record, ttl)):
            raise UpdateError

    def _deleting(self, session_key: str | None) -> Operation[bool]:
        return operations.delete(_store().keys, self.session_key if session_key is None else session_key)

    def _cycling(self) -> Operation[None]:
        old = self.session_key
        yield from self._creating()
        yield from operations.delete(_store().keys, old)


def _store() -> Store:
    return conf.store()


def _client() -> BlockingClient:
    return conf.store().connections.client()


def _async_client() -> AwaitingClient:
    return conf.store().connections.async_client()


def _new_session_key() -> str:
    return get_random_string(32, VALID_KEY_CHARS)


@cache
def _tag(serializer: type) -> int:
    return records.tag(f"{serializer.__module__}.{serializer.__qualname__}")


def _comparable(expiry: Any, modification: datetime | None = None) -> dict[str, Any]:
    if modification is None:
        modification = timezone.now()
    return {
        "modification": modification,
        "expiry": expiring.comparable(expiry, modification, timezone.make_aware),
    }
