"""When does a connection that outlives its request learn that its session has ended?

For WebSockets, server-sent events and other listeners, on an event loop::

    async with revocations.watching(request.session) as watch:
        reason = await watch.ended()

A session is over when it was ended (a logout, a revocation, the limit on a user's sessions), when all
sessions of its user were, when it has expired, and when it is found missing after messages may have been
lost. One that moves to another key, at a sign-in or a change of the password, is followed. One without a
key, of a visitor who has no cookie yet, is not stored, so it is never over. While Redis cannot be
reached, nobody's session is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from django_redis_sessions import conf
from django_redis_sessions.announcements import AllRevoked, Announcement, Revoked, Rotated, UserRevoked
from django_redis_sessions.watches import Interrupted, News, Resumed, Watch, Watches

__all__ = [
    "CLOSE_CODE",
    "AllRevoked",
    "Announcement",
    "ClosesWithSession",
    "Interrupted",
    "Resumed",
    "Revoked",
    "Rotated",
    "UserRevoked",
    "Watch",
    "announcements",
    "until_revoked",
    "watching",
]

#: What a WebSocket is closed with when its session has ended; 4000 to 4999 are for applications.
CLOSE_CODE = 4401

T = TypeVar("T")
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class HasSessionKey(Protocol):
    """``request.session``, Channels' ``scope["session"]``, or anything like them."""

    @property
    def session_key(self) -> str | None: ...


@asynccontextmanager
async def watching(session: HasSessionKey | str, *, follow: bool = True) -> AsyncIterator[Watch]:
    """``async with watching(session) as watch``: learn when ``session``, or the one with this key, ends.

    Without ``follow``, a session is over when it moves to another key. One round trip, on a connection
    that the event loop has anyway, and one subscription for all that are watched on it. When Redis cannot
    be reached, the watch begins all the same and learns later what it has missed; other errors, such as a
    missing right, are raised as ``SessionStoreError``.
    """
    session_key = session if isinstance(session, str) else session.session_key
    watches = Watches.of(conf.store_of(session_key))
    watch = await watches.watch(session_key, follow)
    try:
        yield watch
    finally:
        await watches.leave(watch)


async def announcements() -> AsyncGenerator[News]:
    """Every ``Revoked``, ``Rotated``, ``UserRevoked`` and ``AllRevoked``, from now on.

    Each comes at most once. ``Interrupted`` stands where the connection was lost, and ``Resumed`` where it
    is back: what was announced in between is missing. A listener that falls 10,000 behind gets ``Resumed``
    in their place. Raises ``SessionStoreError`` if it cannot listen in the first place.
    """
    watches = Watches.of(conf.store())
    queue = await watches.listen()
    try:
        while True:
            yield await queue.get()
    finally:
        await watches.hush(queue)


async def until_revoked(
    session: HasSessionKey | str, stream: AsyncIterable[T], *, follow: bool = True
) -> AsyncGenerator[T]:
    """What ``stream`` gives, until ``session`` ends; then the stream is cancelled where it waits.

    For a ``StreamingHttpResponse``. The stream runs in the task of whoever reads this one.
    """
    iterator = aiter(stream)
    try:
        async with watching(session, follow=follow) as watch:
            while True:
                try:
                    part = await _unless_over(watch, iterator.__anext__)
                except (_Over, StopAsyncIteration):
                    return
                yield part
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


class ClosesWithSession:
    """In front of a Channels consumer's base class: its WebSocket is closed when its session ends.

    The browser sees close code 4401, and the consumer's ``disconnect()`` is called with it, so a consumer has
    nothing to do. A socket whose session has ended already is refused. Needs ``scope["session"]``, as
    Channels' ``AuthMiddlewareStack`` and ``SessionMiddlewareStack`` give it.
    """

    #: The code to close with.
    revoked_close_code = CLOSE_CODE
    #: Whether the socket stays open when its session moves to another key, as at a change of the password.
    follows_session = True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve the connection, as ASGI has it."""
        serve = super().__call__  # type: ignore[misc]  # it is the consumer's
        if scope["type"] != "websocket":
            await serve(scope, receive, send)
            return
        if "session" not in scope:
            raise ValueError("The scope has no session: wrap the routes in Channels' SessionMiddlewareStack.")
        async with watching(scope["session"], follow=self.follows_session) as watch:
            socket = _Socket(watch, receive, send, self.revoked_close_code)
            if await socket.is_welcome():
                await serve(scope, socket.receive, socket.send)


class _Socket:
    """A WebSocket of ASGI that is closed when its session ends."""

    def __init__(self, watch: Watch, receive: Receive, send: Send, code: int) -> None:
        self._watch = watch
        self._receive = receive
        self._send = send
        self._code = code
        self._is_closed = False

    async def is_welcome(self) -> bool:
        """Whether the session lives; else the handshake is refused."""
        if self._watch.is_over:
            await self._receive()
            await self._close()
        return not self._is_closed

    async def receive(self) -> Event:
        """What the visitor sends; a disconnect once the session is over."""
        try:
            return await _unless_over(self._watch, self._receive)
        except _Over:
            await self._close()
            return {"type": "websocket.disconnect", "code": self._code, "reason": self._watch.reason}

    async def send(self, event: Event) -> None:
        """Pass on what the application says, as long as somebody hears it."""
        if not self._is_closed:
            self._is_closed = event["type"] == "websocket.close"
            await self._send(event)

    async def _close(self) -> None:
        await self.send({"type": "websocket.close", "code": self._code, "reason": "session ended"})


class _Over(Exception):
    """The session has ended before what was waited for came."""


async def _unless_over(watch: Watch, ask: Callable[[], Awaitable[T]]) -> T:
    """What comes of ``ask()``; it is cancelled, and ``_Over`` raised, when the session ends."""
    if watch.is_over:
        raise _Over
    limit = asyncio.timeout(None)
    is_waiting = True

    def stop(_: object) -> None:
        # It may have come in the same turn of the loop.
        if is_waiting:
            limit.reschedule(0)

    try:
        async with limit:
            watch.over.add_done_callback(stop)
            try:
                result = await ask()
            finally:
                is_waiting = False
                watch.over.remove_done_callback(stop)
    except TimeoutError:
        if limit.expired():
            raise _Over from None
        raise
    if watch.is_over:
        raise _Over
    return result
