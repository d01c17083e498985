"""Which of the sessions that somebody waits on have ended?

One subscription serves all who wait on an event loop, and each message costs the same however many
they are. Messages are handed on at most once, so after each (re)connection, and twice a minute,
Redis is asked whether the watched sessions are still there. While it cannot be asked, nobody is told anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from random import choice, uniform
from typing import Any, TypeVar

from django_redis_sessions import announcements
from django_redis_sessions.announcements import Announcement, Revoked, Rotated, UserRevoked
from django_redis_sessions.errors import SessionStoreError, SessionStoreUnavailable
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import MOST_MOVES, Command, or_raise
from django_redis_sessions.records import LONGEST_HEADER, owner_of
from django_redis_sessions.store import Store
from django_redis_sessions.subscriptions import Subscription

#: Seconds between two questions whether the connection is alive.
PING_INTERVAL = 5.0
#: Seconds after which all watched sessions are looked for again: nothing announces that one has expired.
#: Less than ``MOVED_TTL``, so that one is found that has moved.
CHECK_INTERVAL = 30.0
#: How many sessions are looked for in one piece.
PAGE = 500
#: Seconds between two attempts to connect: about the first at first, never more than the second.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: So many messages wait for a listener that is slow; then it has missed some.
BACKLOG = 10_000

#: Why a session is over that was found missing: it expired, was purged, or the message was lost.
GONE = "gone"
#: Why a session is over that is not followed.
ROTATED = "rotated"
#: Why a session is over that was ended together with others.
REVOKED = "revoked"

Name = TypeVar("Name", str, bytes)

_log = logging.getLogger("django_redis_sessions")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """From here on messages may be missing: the connection was lost, with ``error``."""

    error: SessionStoreError


@dataclass(frozen=True, slots=True)
class Resumed:
    """From here on messages come again; whatever was said before may have been missed."""


News = Announcement | Interrupted | Resumed


class Watch:
    """One session, as long as somebody's connection depends on it."""

    def __init__(self, handle: str = "", name: str = "", follows: bool = True) -> None:
        self._handle = handle
        #: What last was known to stand for it in Redis keys.
        self.name = name
        #: What else may stand for it, while a site moves from one scheme of session keys to another.
        self.other_names: list[str] = []
        #: Whether it is the same session under another key.
        self.follows = follows
        #: The marker of the user who is signed in; empty if nobody is.
        self.user = b""
        #: Whether it was found since it is watched.
        self.is_found = False
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def handle(self) -> str:
        """The session's public handle; another after each rotation."""
        return self._handle

    @property
    def is_over(self) -> bool:
        """Whether the session has ended, as far as is known."""
        return self.over.done()

    @property
    def reason(self) -> str | None:
        """Why the session has ended; None while it has not."""
        return self.over.result() if self.over.done() else None

    async def ended(self) -> str:
        """Wait until the session has ended; why.

        "logout", "revoked", "limit", or what ``sessions.revoke()`` was given; "gone" if it was found
        missing; "rotated" if it has another key and is not followed.
        """
        return await asyncio.shield(self.over)

    def move(self, handle: str, name: str) -> None:
        """The session goes on under another key."""
        self._handle, self.name = handle, name

    def end(self, reason: str) -> None:
        """The session has ended; the first reason stays."""
        if not self.over.done():
            self.over.set_result(reason)


class Watches:
    """All that one event loop wants to hear of one store. Use ``of()``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._by_handle: defaultdict[str, set[Watch]] = defaultdict(set)
        self._by_user: defaultdict[bytes, set[Watch]] = defaultdict(set)
        self._queues: set[asyncio.Queue[News]] = set()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_listening = False
        #: Whether those who hear everything were told of an interruption last, and not of its end.
        self._is_interrupted = False
        #: Why the last attempt to listen failed.
        self._trouble: SessionStoreError | None = None
        #: Whether the attempt that is under way, or was the last, has come to something.
        self._known = asyncio.Event()

    @classmethod
    def of(cls, store: Store) -> Watches:
        """The running loop's, for ``store``."""
        loop = asyncio.get_running_loop()
        for closed in [known for known in _all if known[1].is_closed()]:
            del _all[closed]
        return _all.setdefault((store, loop), cls(store))

    # Who listens

    async def watch(self, session_key: str | None, follows: bool = True) -> Watch:
        """Begin to watch a session, until ``leave()``; one round trip.

        When Redis cannot be reached, the watch begins all the same and learns later what it has missed.
        Any other error, a missing right for example, is raised.
        """
        if session_key is None:
            return Watch()  # nothing is stored, so nothing can end
        keys = self._store.keys
        if not keys.accepts(session_key):
            watch = Watch()
            watch.end(GONE)
            return watch
        name, *other_names = keys.names(session_key)
        watch = Watch(keys.handle(session_key), name, follows)
        watch.other_names = other_names
        self._file(watch)
        try:
            await self._listening()
            if self._is_listening and not watch.is_found and not watch.is_over:
                await self._check([watch])
        except SessionStoreUnavailable:
            pass  # it is looked for as soon as Redis is back
        except BaseException:
            await self.leave(watch)
            raise
        return watch

    async def leave(self, watch: Watch) -> None:
        """Watch no more; the last one out closes the connection."""
        self._unfile(watch)
        await self._end_if_alone()

    async def listen(self) -> asyncio.Queue[News]:
        """Begin to hear everything; raises ``SessionStoreError`` if that cannot be now."""
        queue: asyncio.Queue[News] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        try:
            await self._listening()
        except BaseException:
            await self.hush(queue)
            raise
        return queue

    async def hush(self, queue: asyncio.Queue[News]) -> None:
        """Hear no more; the last one out closes the connection."""
        self._queues.discard(queue)
        await self._end_if_alone()

    def _file(self, watch: Watch) -> None:
        self._by_handle[watch.handle].add(watch)
        if watch.user:
            self._by_user[watch.user].add(watch)

    def _unfile(self, watch: Watch) -> None:
        _remove(self._by_handle, watch.handle, watch)
        _remove(self._by_user, watch.user, watch)

    def _everybody(self) -> list[Watch]:
        return [watch for watches in self._by_handle.values() for watch in watches]

    # What is heard

    def _hear(self, message: bytes) -> None:
        announcement = announcements.decode(message)
        if announcement is None:
            return
        self._tell_resumed()  # it came over the new connection
        self._tell(announcement)
        match announcement:
            case Revoked(handle, _, reason):
                self._end(self._by_handle.get(handle, ()), reason)
            case Rotated(old_handle, handle, user_id):
                user = b"" if user_id is None else user_marker(user_id)
                for watch in list(self._by_handle.get(old_handle, ())):
                    # With plain keys a handle leads to no record; the old name leads to the new one.
                    leads = not self._store.keys.may_be_plain
                    self._follow(watch, handle, handle if leads else watch.name, user)
            case UserRevoked(user_id):
                self._end(self._by_user.get(user_marker(user_id), ()), REVOKED)
            case _:
                self._end(self._everybody(), REVOKED)

    def _follow(self, watch: Watch, handle: str, name: str, user: bytes) -> None:
        if not watch.follows and handle != watch.handle:
            self._end([watch], ROTATED)
            return
        self._unfile(watch)
        watch.move(handle, name)
        watch.user = user
        self._file(watch)

    def _end(self, watches: Iterable[Watch], reason: str) -> None:
        for watch in list(watches):
            self._unfile(watch)
            watch.end(reason)

    def _tell_resumed(self) -> None:
        if self._is_interrupted:
            self._is_interrupted = False
            self._tell(Resumed())

    def _tell_interrupted(self, error: SessionStoreError) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            self._tell(Interrupted(error))

    def _tell(self, news: News) -> None:
        for queue in self._queues:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(Resumed())
            queue.put_nowait(news)

    # What is asked

    async def _check(self, watches: list[Watch]) -> None:
        """End those whose session is not there any more.

        A round trip for each 500, and two more for each move that was missed.
        """
        for start in range(0, len(watches), PAGE):
            unsure = watches[start : start + PAGE]
            for _ in range(MOST_MOVES):
                unsure = await self._moved(await self._missing(unsure))
                if not unsure:
                    break

    async def _missing(self, watches: list[Watch]) -> list[Watch]:
        """Those of ``watches`` that have no record."""
        asked = [(watch, watch.name) for watch in watches if not watch.is_over]
        records = await self._ask(
            [("GETRANGE", self._store.keys.record_named(name), 0, LONGEST_HEADER - 1) for _, name in asked]
        )
        missing = []
        for (watch, name), record in zip(asked, records, strict=True):
            if watch.is_over or watch.name != name:
                continue  # what was announced meanwhile is newer than this reply
            if record:
                watch.is_found = True
                self._unfile(watch)
                watch.user = owner_of(record) or b""
                self._file(watch)
            else:
                missing.append(watch)
        return missing

    async def _moved(self, watches: list[Watch]) -> list[Watch]:
        """Those of ``watches`` that have moved without its being heard; the others are over."""
        asked = [(watch, watch.name) for watch in watches]
        names = await self._ask([("GET", self._store.keys.moved(name)) for _, name in asked])
        moved = []
        for (watch, name), new in zip(asked, names, strict=True):
            if watch.is_over or watch.name != name:
                continue
            if new is None and watch.other_names:
                watch.name = watch.other_names.pop(0)
                moved.append(watch)
            elif new is None:
                self._end([watch], GONE)
            else:
                name = new.decode(errors="replace")
                self._follow(watch, self._store.keys.handle_of(name), name, b"")
                moved.append(watch)
        return moved

    async def _ask(self, commands: list[Command]) -> list[Any]:
        replies = await self._store.connections.async_client().execute(commands) if commands else []
        return [or_raise(reply) for reply in replies]

    # The connection

    async def _listening(self) -> None:
        """Wait until messages come; raises why they do not."""
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._keep_listening())
            self._task.add_done_callback(self._has_stopped)
        await self._known.wait()
        if self._trouble is not None:
            raise type(self._trouble)(str(self._trouble), address=self._trouble.address) from self._trouble

    async def _end_if_alone(self) -> None:
        if self._by_handle or self._queues:
            return
        if _all.get((self._store, self._loop)) is self:
            del _all[self._store, self._loop]
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except SessionStoreError as error:
                self._interrupted(error)
            longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self._failures, 10))
            # So that the processes of a site do not all come back at the same moment.
            await asyncio.sleep(uniform(0.5, 1.0) * longest)  # noqa: S311 - not a secret

    async def _listen(self) -> None:
        """Hear messages until the connection is lost."""
        # In a cluster every node hands on what is published on any.
        client = choice(await self._store.connections.async_client().nodes())  # noqa: S311 - any will do
        subscription = Subscription(client, self._store.keys.channel, self._hear)
        try:
            await subscription.open()
            _unless_cancelled()
            await self._check(self._everybody())
            _unless_cancelled()
            self._resumed()
            checked = self._loop.time()
            while True:
                await subscription.stay(PING_INTERVAL)
                if self._loop.time() - checked >= CHECK_INTERVAL:
                    await self._check(self._everybody())
                    _unless_cancelled()
                    checked = self._loop.time()
        finally:
            await subscription.aclose()

    def _resumed(self) -> None:
        if self._failures > 1:
            address = self._store.connections.async_client().address
            _log.warning("Ended sessions are announced again: Redis at %s answers.", address)
        self._tell_resumed()
        self._failures = 0
        self._is_listening = True
        self._trouble = None
        self._known.set()

    def _interrupted(self, error: SessionStoreError) -> None:
        self._failures += 1
        self._tell_interrupted(error)
        if self._is_listening:
            # Whoever comes now waits for what the next attempt brings.
            self._is_listening = False
            self._known.clear()
            return
        self._trouble = error
        self._known.set()
        if self._failures == 2:
            _log.error("Ended sessions are not announced: %s", error)

    def _has_stopped(self, task: asyncio.Task[None]) -> None:
        """Nobody may go on waiting for what nobody hears."""
        if task.cancelled():
            return
        self._known.set()
        self._end(self._everybody(), GONE)
        self._loop.call_exception_handler(
            {"message": "Ended sessions are not announced", "exception": task.exception(), "task": task}
        )


_all: dict[tuple[Store, asyncio.AbstractEventLoop], Watches] = {}


def _unless_cancelled() -> None:
    """End a task whose cancellation was lost, as Python 3.11's ``asyncio.wait_for()`` does in a connect."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _remove(index: defaultdict[Name, set[Watch]], name: Name, watch: Watch) -> None:
    if name in index:
        index[name].discard(watch)
        if not index[name]:
            del index[name]
