"""What does Django call to keep its sessions in Redis?

``SESSION_ENGINE = "django_redis_sessions.backend"``. The twins here say which operation answers
which method of Django's; the rules are in ``stored`` and below.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from time import monotonic, time, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.serializers import JSONSerializer
from django.utils import timezone

from django_redis_sessions import conf, errors, fallbacks, json_text, operations, records, signals
from django_redis_sessions import expiry as expiring
from django_redis_sessions.ahead import RecordAhead
from django_redis_sessions.announcements import Revoked, Rotated
from django_redis_sessions.devices import Device
from django_redis_sessions.executors import AsyncClient, arun, run
from django_redis_sessions.held import Created
from django_redis_sessions.operations import Located, Operation
from django_redis_sessions.rehashing import ais_rehash, is_rehash
from django_redis_sessions.seen import SeenSession
from django_redis_sessions.store import Stores

T = TypeVar("T")

#: For so many seconds an object that has met an outage does not ask again.
OUTAGE_MEMORY = 1.0

_EXPIRY = "_session_expiry"


class SessionEnded(errors.SessionEnded, UpdateError, SessionInterrupted):
    """As Django knows it: an ``UpdateError`` while saving, a 400 when it leaves a view."""


class SessionConflict(errors.SessionConflict, UpdateError, SessionInterrupted):
    """As Django knows it: an ``UpdateError`` while saving, a 400 when it leaves a view."""


class SessionKeyTaken(errors.SessionKeyTaken, CreateError):
    """As Django knows it."""


class SessionStore(SeenSession, SessionBase):
    """A session in Redis: one record, one round trip for each method.

    Every method that speaks to Redis raises ``SessionStoreError`` when Redis fails; a failure is
    never taken for an empty session. Changes that other requests saved meanwhile are merged with
    this one's when it is saved; one more round trip for each such conflict.
    """

    if TYPE_CHECKING:  # django-stubs leaves out what engines are built from

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    Ended = SessionEnded
    Conflict = SessionConflict
    KeyTaken = SessionKeyTaken

    #: Whether loading has extended the session's life, so that its cookie should be renewed too.
    was_extended = False

    #: What this object last met instead of an answer.
    outage: errors.SessionStoreUnavailable | None = None
    #: Whether the request may go on with an empty session, which is then never saved, when Redis
    #: cannot be reached; our middleware says so under ``ON_OUTAGE: "anonymous"``.
    tolerates_outage = False
    _outage_ends = 0.0
    _ahead: RecordAhead[Located | None] | None = None

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._began_us = time_ns() // 1000
        self._news = []

    # Reading

    def load(self) -> dict[str, Any]:
        """The stored session data; ``{}`` and no session key when there is none. One round trip.

        One more when reading extends the session's life (``ROLLING``, ``PROBATION_TTL``).
        """
        try:
            return self._load()
        except errors.SessionStoreUnavailable as error:
            return self._without(error)

    async def aload(self) -> dict[str, Any]:
        """Async twin of ``load()``."""
        try:
            return await self._aload()
        except errors.SessionStoreUnavailable as error:
            return self._without(error)

    def _load(self) -> dict[str, Any]:
        ahead, reading = self._take_ahead(), self._reading()
        if ahead is not None and ahead.can_block():
            try:
                reading = operations.known(ahead.result())
            except errors.SessionStoreError as error:
                reading = operations.failed(error)
        return self._perform("load", self._loading(reading))

    async def _aload(self) -> dict[str, Any]:
        ahead, reading = self._take_ahead(), self._reading()
        if ahead is not None:
            try:
                reading = operations.known(await ahead.aresult())
            except errors.SessionStoreError as error:
                reading = operations.failed(error)
        return await self._aperform("load", self._loading(reading))

    def load_ahead(self) -> None:
        """Start fetching the record on the running loop; the next load uses it, if one comes."""
        if self._store.keys.accepts(self.session_key):
            self._ahead = RecordAhead(self.session_key, arun(self._async_client, self._reading()))

    def _take_ahead(self) -> RecordAhead[Located | None] | None:
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None and ahead.session_key == self.session_key else None

    def exists(self, session_key: str | None) -> bool:
        """Whether a session with this key is stored. One round trip, none for text that is no key."""
        return self._perform("exists", self._existing(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        """Async twin of ``exists()``."""
        return await self._aperform("exists", self._existing(session_key))

    # Writing

    def create(self) -> None:
        """Store this session's data as a new session under a new key. One round trip."""
        self._get_session(no_load=True)
        self._find_place()
        self._perform("create", self._creating())

    async def acreate(self) -> None:
        """Async twin of ``create()``."""
        await self._aget_session(no_load=True)
        self._find_place()
        await self._aperform("create", self._creating())

    def save(self, must_create: bool = False) -> None:
        """Store this session's data. One round trip, and one before it if nothing was loaded yet.

        Unchanged data is not sent again, only the session's life is extended. Raises
        ``SessionKeyTaken`` when ``must_create`` and the key is taken, ``SessionEnded`` when the
        session was deleted meanwhile, ``SessionConflict`` when somebody else has saved it meanwhile
        and ``CONFLICT`` is "strict".
        """
        session_key = self.session_key
        self._get_session(no_load=must_create)
        self._find_place()
        self._perform("save", self._saving(session_key, must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Async twin of ``save()``."""
        session_key = self.session_key
        await self._aget_session(no_load=must_create)
        self._find_place()
        await self._aperform("save", self._saving(session_key, must_create))

    def delete(self, session_key: str | None = None) -> None:
        """End the session with this key, by default this one. One round trip."""
        self._perform("delete", self._deleting(self.session_key if session_key is None else session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """Async twin of ``delete()``."""
        await self._aperform(
            "delete", self._deleting(self.session_key if session_key is None else session_key)
        )

    def flush(self) -> None:
        """Forget the data and the key, and end the stored session. One round trip."""
        super().flush()
        self._baseline = self._region = None

    async def aflush(self) -> None:
        """Async twin of ``flush()``."""
        await super().aflush()
        self._baseline = self._region = None

    def cycle_key(self) -> None:
        """Move the session to a new key; the old one is worthless at once. One round trip.

        Raises ``SessionEnded`` when somebody was signed in and the session is gone: a rotation never
        undoes a logout. After a rotation of SECRET_KEY the old key leads to the new one for ten
        seconds, so that parallel requests do not fail.
        """
        is_only_rehash = is_rehash(self._get_session())
        self._find_place()
        self._perform("cycle_key", self._cycling(leaves_address=is_only_rehash))

    async def acycle_key(self) -> None:
        """Async twin of ``cycle_key()``."""
        is_only_rehash = await ais_rehash(await self._aget_session())
        self._find_place()
        await self._aperform("cycle_key", self._cycling(leaves_address=is_only_rehash))

    def move(self, region: str) -> None:
        """Move the session to another region, under a new key, with what this object has changed.

        Nothing of it stays behind but what leads from the old key to the new one, for as long as the session
        lives, because its visitor may hear of it late. Four round trips, two of them there, up to two more from
        a cluster; none for a session that is there already, or is not stored yet, which then will be stored
        there. Raises ``SessionEnded`` as ``cycle_key()`` does, and
        ``SessionStoreMisconfigured`` for a region that ``REGIONS`` does not name.
        """
        self._get_session()
        if (there := self._other_region(region)) is not None:
            self._perform("cycle_key", self._cycling(leaves_address=True, region=there))

    async def amove(self, region: str) -> None:
        """Async twin of ``move()``."""
        await self._aget_session()
        if (there := self._other_region(region)) is not None:
            await self._aperform("cycle_key", self._cycling(leaves_address=True, region=there))

    def mutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace the stored value under ``key`` by ``function`` of it, at once; the new value.

        Exact however many requests do it at a time: ``function`` gets the value that is stored
        (``default`` if there is none) and is called again when somebody else was faster, so it must
        do nothing but compute. One round trip, one more for each rival. Raises ``SessionEnded``.
        A session that is not stored yet is changed in memory only.
        """
        self._get_session()
        return self._perform("mutate", self._mutating(key, function, default))

    async def amutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Async twin of ``mutate()``."""
        await self._aget_session()
        return await self._aperform("mutate", self._mutating(key, function, default))

    def increment(self, key: str, by: float = 1) -> Any:
        """Add to the stored number under ``key`` (0 if there is none), at once; the sum. See ``mutate()``."""
        return self.mutate(key, lambda value: value + by, 0)

    async def aincrement(self, key: str, by: float = 1) -> Any:
        """Async twin of ``increment()``."""
        return await self.amutate(key, lambda value: value + by, 0)

    def see(self, device: Device | None) -> None:
        """Store that the visitor was here now, and where unless None; the session ends when it would anyway.

        One round trip. Of what this object has changed nothing is stored. A failure is logged.
        """
        self._perform("see", self._seeing(device))

    async def asee(self, device: Device | None) -> None:
        """Async twin of ``see()``."""
        await self._aperform("see", self._seeing(device))

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: Redis forgets expired sessions itself."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Async twin of ``clear_expired()``."""

    # Lifetime

    def get_session_cookie_age(self) -> int:
        """Idle life in seconds unless ``set_expiry()`` says otherwise: ``TTL``, or SESSION_COOKIE_AGE."""
        ttl = self._store.settings.ttl
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

    # What StoredSession asks for

    @property
    def _stores(self) -> Stores:
        return conf.stores()

    def _dumps(self, data: Any) -> bytes:
        if self.serializer is JSONSerializer:
            return json_text.dumps(data)
        payload: bytes = self.serializer().dumps(data)
        return payload

    def _loads(self, payload: bytes, serializer: int) -> Any:
        reader = self.serializer
        if serializer != _tag(reader):
            # Written under another SESSION_SERIALIZER: JSON is safe to read, nothing else is.
            if serializer != records.JSON:
                raise errors.CorruptRecord(
                    "it was written by a serializer that SESSION_SERIALIZER does not name"
                )
            reader = JSONSerializer
        try:
            if reader is JSONSerializer:
                return json_text.loads(payload)
            return reader().loads(payload)
        except Exception as error:  # whatever the project's serializer raises on bytes it cannot read
            raise errors.CorruptRecord("its body cannot be deserialized") from error

    @property
    def _serializer_tag(self) -> int:
        return _tag(self.serializer)

    def _idle_life(self, data: dict[str, Any]) -> float:
        return self.get_expiry_age(expiry=data.get(_EXPIRY))

    @property
    def _follows_moves(self) -> bool:
        return super()._follows_moves or conf.has_retired_secret_keys()

    def _changed(self) -> None:
        self.modified = True

    def _extended(self) -> None:
        self.was_extended = True

    # Other engines

    def _arriving(self, session_key: str) -> Operation[Located | None]:
        store = self._store_of(session_key)
        return self._at(store, fallbacks.arriving(self, store, session_key))

    def _is_elsewhere(self, session_key: str) -> Operation[bool]:
        store = self._store_of(session_key)
        return self._at(store, fallbacks.is_there(store, session_key))

    def _ending_elsewhere(self, session_key: str, ending: Operation[None]) -> Operation[None]:
        store = self._store_of(session_key)
        return self._at(store, fallbacks.ending(store, session_key, self._longest_life(), ending))

    def _longest_life(self) -> int:
        """Seconds that a copy of this session in another engine may live."""
        header = self._baseline.header if self._baseline is not None else None
        left = header.expires - int(time()) if header is not None else 0
        return max(left, super().get_session_cookie_age(), 0)

    # Outages

    def _without(self, error: errors.SessionStoreUnavailable) -> dict[str, Any]:
        """What the request sees of a session that cannot be read now: nothing, if it may go on without."""
        self._remember_outage(error)
        if not self.tolerates_outage:
            raise error
        self.is_unavailable = True
        return {}

    def _perform(self, name: str, operation: Operation[T]) -> T:
        self._recall_outage()
        try:
            return run(self._store.connections.client(), self._prepared(name, operation))
        except errors.SessionStoreUnavailable as error:
            self._remember_outage(error)
            raise
        finally:
            if self._news:
                signals.tell(type(self), self._take_news())

    async def _aperform(self, name: str, operation: Operation[T]) -> T:
        self._recall_outage()
        try:
            return await arun(self._async_client, self._prepared(name, operation))
        except errors.SessionStoreUnavailable as error:
            self._remember_outage(error)
            raise
        finally:
            if self._news:
                await signals.atell(type(self), self._take_news())

    def _take_news(self) -> list[Created | Rotated | Revoked]:
        # A receiver may use this very session.
        news, self._news = self._news, []
        return news

    def _remember_outage(self, error: errors.SessionStoreUnavailable) -> None:
        self.outage = error
        self._outage_ends = monotonic() + OUTAGE_MEMORY

    def _recall_outage(self) -> None:
        """One request that touches its session ten times does not wait ten times."""
        if self.outage is not None and monotonic() < self._outage_ends:
            raise errors.SessionStoreUnavailable(
                str(self.outage), address=self.outage.address
            ) from self.outage

    @property
    def _async_client(self) -> AsyncClient:
        return self._store.connections.async_client()


@cache
def _tag(serializer: type) -> int:
    return records.tag(f"{serializer.__module__}.{serializer.__qualname__}")


def _comparable(expiry: Any, modification: datetime | None = None) -> dict[str, Any]:
    if not isinstance(expiry, (datetime, str)):
        # A number needs no clock; named, so that Django does not ask it either.
        return {"modification": modification, "expiry": expiry}
    if modification is None:
        modification = timezone.now()
    return {
        "modification": modification,
        "expiry": expiring.comparable(expiry, modification, timezone.make_aware),
    }
