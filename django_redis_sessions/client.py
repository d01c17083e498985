"""How does a program that is not Django use the sessions of a Django site?

Everything is made from plain values, and nothing here or below imports Django::

    client = SessionClient("redis://localhost:6379/0", prefix="session")

    session = client.open(cookie_value)
    session["cart"] = {"mug": 1}
    if session.has_changed:
        session.save()
    if session.needs_cookie:
        ...  # send session.key for session.max_age seconds, or take the cookie away if there is none

Every method that speaks to Redis has a twin whose name begins with ``a``, and raises
``SessionStoreError`` when Redis fails: an outage is never an empty session.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from time import time_ns
from typing import Any, TypeVar

from django_redis_sessions import expiry, json_text, records
from django_redis_sessions.configuration import Settings, settings_from
from django_redis_sessions.errors import CorruptRecord, SessionStoreMisconfigured
from django_redis_sessions.executors import arun, run
from django_redis_sessions.operations import Operation
from django_redis_sessions.regional import RegionalSession
from django_redis_sessions.store import Stores

__all__ = ["ClientSession", "SessionClient"]

T = TypeVar("T")

_EXPIRY = "_session_expiry"

# What a site may set and a client cannot do, with the reason.
_REFUSED = {
    "FALLBACK_ENGINES": "they are Django's, and adopting from them is for the site to do",
    "REGION_ROUTER": "it gets a request of Django's; say where a new session is to live with new(region)",
}


class SessionClient:
    """The way to the sessions of one site, for all threads and event loops of a program.

    ``secret_keys`` are the site's SECRET_KEY and behind it its SECRET_KEY_FALLBACKS: signed session keys and
    ``sign`` need them, and with more than one a session is found that Django has moved because the first is
    new. ``cookie_age`` and ``expire_at_browser_close`` are its SESSION_COOKIE_AGE and
    SESSION_EXPIRE_AT_BROWSER_CLOSE. Further arguments are the names of ``SESSION_REDIS`` in lower case, with
    the same values as there; where the site has ``regions``, they take the place of ``url``.
    ``SessionStoreMisconfigured`` says what is wrong with them; no round trip.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "session",
        secret_keys: Sequence[str | bytes] = (),
        cookie_age: float = 1_209_600,
        expire_at_browser_close: bool = False,
        **settings: Any,
    ) -> None:
        if isinstance(secret_keys, (str, bytes)):
            raise SessionStoreMisconfigured(
                "SessionClient takes a list of secret_keys, and was given one text: write it between brackets."
            )
        given = {name.upper(): value for name, value in settings.items()}
        if url is not None:
            given["URL"] = url
        #: What all of this amounts to, in each region.
        self.stores = Stores.of(_settings({**given, "PREFIX": prefix}), secrets=secret_keys)
        self._expires_at_browser_close = expire_at_browser_close
        usual_life = self.stores.home.settings.ttl
        self._usual_life: float = cookie_age if usual_life is None else usual_life
        self._has_retired_secrets = len(secret_keys) > 1

    def open(self, cookie_value: str | None) -> ClientSession:
        """The session of the visitor with this cookie; a new, empty one if there is none. One round trip.

        None for text that cannot be a session key, or no text. One more when reading extends the session's
        life (``rolling``, ``probation_ttl``). Raises ``SessionStoreMisconfigured`` for a session that was
        not written as JSON; one that cannot be read is empty, and a warning.
        """
        session = ClientSession(self, cookie_value)
        session._hold(session._perform("load", session._opening()))
        return session

    async def aopen(self, cookie_value: str | None) -> ClientSession:
        """Async twin of ``open()``."""
        session = ClientSession(self, cookie_value)
        session._hold(await session._aperform("load", session._opening()))
        return session

    def new(self, region: str | None = None) -> ClientSession:
        """A session that is stored nowhere yet, and will be at home or in this ``region``. No round trip."""
        session = ClientSession(self, None)
        session._hold({})
        if region is not None:
            session._other_region(region)
        return session

    def close(self) -> None:
        """Close the connections of this process; those of an event loop are closed with the loop."""
        self.stores.close()

    def __repr__(self) -> str:
        return f"<SessionClient of {self.stores.home.settings.prefix!r}>"


class ClientSession(RegionalSession, MutableMapping[str, Any]):
    """One visitor's session, as ``SessionClient`` gives it: a dict of what JSON can write.

    Nothing is stored before ``save()``, which finds changes inside of lists and dicts too.
    """

    def __init__(self, client: SessionClient, session_key: str | None) -> None:
        self._client = client
        self._session_key = session_key
        self._began_us = time_ns() // 1000
        self._news = []
        self._needs_cookie = False

    # A dict

    def __getitem__(self, key: str) -> Any:
        return self._session_cache[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._session_cache[key] = value

    def __delitem__(self, key: str) -> None:
        del self._session_cache[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._session_cache)

    def __len__(self) -> int:
        return len(self._session_cache)

    def __repr__(self) -> str:
        return f"<ClientSession {self.handle or 'that is not stored'}>"

    # What there is to know

    @property
    def key(self) -> str | None:
        """The session key, which belongs into the visitor's cookie and nowhere else; None if nothing is stored."""
        return self._session_key

    @property
    def handle(self) -> str | None:
        """The session's public name, for logs; None if nothing is stored."""
        return None if self._session_key is None else self._store.keys.handle(self._session_key)

    @property
    def user_id(self) -> str | None:
        """The id, as text, of the user who has signed in on the site; None for an anonymous visitor."""
        return self._owner(self._session_cache)

    @property
    def is_new(self) -> bool:
        """Whether no session was found: this one was begun here, and is stored if it has a ``key``."""
        return self._session_key is None or self._is_new

    @property
    def has_changed(self) -> bool:
        """Whether there is something to save. No round trip."""
        payload = self._baseline.payload if self._baseline is not None else None
        return self._dumps(self._session_cache) != (b"{}" if payload is None else payload)

    @property
    def needs_cookie(self) -> bool:
        """Whether the visitor's cookie has to be set anew, or taken away if ``key`` is None.

        So it is after a save, which lets the session live on, after it has got another key, and after its end.
        """
        return self._needs_cookie

    @property
    def max_age(self) -> int | None:
        """Seconds after which the visitor's browser may forget the cookie; None for when it is closed."""
        expires = self.get(_EXPIRY)
        if expires == 0 or (expires is None and self._client._expires_at_browser_close):
            return None
        return max(0, math.ceil(self._idle_life(self._session_cache)))

    # What is done with it

    def save(self) -> None:
        """Store the session, a new one under a new key. One round trip, and one for each rival.

        What others have saved meanwhile is merged, as ``conflict`` says. Unchanged data is not sent, only the
        session's life is extended. Raises ``SessionEnded`` if the session was deleted meanwhile,
        ``SessionConflict`` if ``conflict`` is "strict", ``SessionTooLarge`` and ``SessionLimitReached``.
        """
        self._perform("save", self._saving_whole())

    async def asave(self) -> None:
        """Async twin of ``save()``."""
        await self._aperform("save", self._saving_whole())

    def rotate(self) -> None:
        """Store the session under another key; the one of before is worthless at once. One round trip.

        For whoever gains rights, signing in for example. Raises ``SessionEnded`` if somebody was signed in
        and the session is gone.
        """
        self._perform("cycle_key", self._cycling(leaves_address=False))

    async def arotate(self) -> None:
        """Async twin of ``rotate()``."""
        await self._aperform("cycle_key", self._cycling(leaves_address=False))

    def move(self, region: str) -> None:
        """Take the session to another region, under another key. As ``SessionStore.move()`` on the site."""
        if (there := self._other_region(region)) is not None:
            self._perform("cycle_key", self._cycling(leaves_address=True, region=there))

    async def amove(self, region: str) -> None:
        """Async twin of ``move()``."""
        if (there := self._other_region(region)) is not None:
            await self._aperform("cycle_key", self._cycling(leaves_address=True, region=there))

    def delete(self) -> None:
        """End the session wherever it is known, and forget its data. One round trip."""
        self._perform("delete", self._ending_whole())

    async def adelete(self) -> None:
        """Async twin of ``delete()``."""
        await self._aperform("delete", self._ending_whole())

    def mutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace the stored value under ``key`` by ``function`` of it, at once; the new value. One round trip.

        Exact however many do it at a time: ``function`` is called again when somebody else was faster, so it
        must do nothing but compute. A session that is not stored yet is changed in memory only.
        """
        return self._perform("mutate", self._mutating(key, function, default))

    async def amutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Async twin of ``mutate()``."""
        return await self._aperform("mutate", self._mutating(key, function, default))

    def increment(self, key: str, by: float = 1) -> Any:
        """Add to the stored number under ``key`` (0 if there is none), at once; the sum. See ``mutate()``."""
        return self.mutate(key, lambda value: value + by, 0)

    async def aincrement(self, key: str, by: float = 1) -> Any:
        """Async twin of ``increment()``."""
        return await self.amutate(key, lambda value: value + by, 0)

    # Parts

    def _hold(self, data: dict[str, Any]) -> None:
        self._session_cache = data

    def _opening(self) -> Operation[dict[str, Any]]:
        return self._loading(self._reading())

    def _saving_whole(self) -> Operation[None]:
        yield from self._saving(self._session_key, must_create=False)
        self._needs_cookie = True

    def _ending_whole(self) -> Operation[None]:
        yield from self._deleting(self._session_key)
        self._session_key, self._baseline, self._session_cache, self._region = None, None, {}, None
        self._needs_cookie = True

    def _perform(self, name: str, operation: Operation[T]) -> T:
        try:
            return run(self._store.connections.client(), self._prepared(name, operation))
        finally:
            self._news.clear()  # for Django's signals, which nobody receives here

    async def _aperform(self, name: str, operation: Operation[T]) -> T:
        try:
            return await arun(self._store.connections.async_client(), self._prepared(name, operation))
        finally:
            self._news.clear()

    # What StoredSession asks for

    @property
    def _stores(self) -> Stores:
        return self._client.stores

    def _dumps(self, data: Any) -> bytes:
        return json_text.dumps(data)

    def _loads(self, payload: bytes, serializer: int) -> Any:
        if serializer != records.JSON:
            # No session that is merely empty: a save would write over what its site can read.
            raise SessionStoreMisconfigured(
                "A session was not written as JSON, which is all that a SessionClient reads. "
                "Let SESSION_SERIALIZER of the site that writes it be Django's JSONSerializer."
            )
        try:
            return json_text.loads(payload)
        except (ValueError, RecursionError) as error:
            raise CorruptRecord("its body cannot be deserialized") from error

    @property
    def _serializer_tag(self) -> int:
        return records.JSON

    def _idle_life(self, data: dict[str, Any]) -> float:
        return expiry.idle_life(data.get(_EXPIRY), self._client._usual_life, datetime.now(UTC))

    @property
    def _follows_moves(self) -> bool:
        return super()._follows_moves or self._client._has_retired_secrets

    def _changed(self) -> None:
        # What is not stored, and was only changed in memory, is nothing to tell.
        if self._session_key is not None:
            self._needs_cookie = True

    def _extended(self) -> None:
        self._needs_cookie = True


def _settings(given: dict[str, Any]) -> Settings:
    """The settings; in other words if they cannot be used."""
    for name, why in _REFUSED.items():
        if given.get(name):
            raise SessionStoreMisconfigured(f"SessionClient has no {name.lower()}: {why}.")
    try:
        return settings_from(given)
    except SessionStoreMisconfigured as error:
        raise SessionStoreMisconfigured(
            f"SessionClient takes the settings of SESSION_REDIS, in lower case. {error}"
        ) from None
