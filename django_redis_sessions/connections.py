"""How are connections to Redis made, handed out and given up?

The connections themselves (sockets, TLS, credentials, handshake) are redis-py's. Ours is who
holds one, and when: one blocking client per process, which survives a fork, and one awaiting
client per running event loop, which is closed with it. A connection that an error, a time-out or
a cancellation left in the middle of a reply is closed and never handed on: its next reader would
receive somebody else's session.

Every command this package sends may be repeated without harm, so a connection that turns out to
be closed is replaced at once, and ``RETRIES`` more attempts follow a failure. redis-py's own
retries, time-outs and pool bounds changed with nearly every release and are not relied upon.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from django_redis_sessions import embedded
from django_redis_sessions.configuration import SETTING, Settings, split_url
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.faults import translated
from django_redis_sessions.operations import Command

#: Connections one client may hold; callers beyond it wait for one to come back.
MAX_CONNECTIONS = 100

_LOST = (redis.ConnectionError, redis.TimeoutError)
# A wrong password will be wrong again.
_FINAL = (redis.AuthenticationError, redis.exceptions.AuthorizationError)


class Connections:
    """The clients of one Redis deployment, made when first asked for.

    ``project`` names the project among those that use ``embedded://`` on this machine.
    """

    def __init__(self, settings: Settings, project: str) -> None:
        self._settings = settings
        self._project = project
        self._lock = threading.Lock()
        self._blocking: BlockingClient | None = None
        self._awaiting: dict[asyncio.AbstractEventLoop, AwaitingClient] = {}
        _all.add(self)

    def client(self) -> BlockingClient:
        """This process's blocking client. No I/O."""
        if self._blocking is None:
            with self._lock:
                if self._blocking is None:
                    self._blocking = BlockingClient(self._settings, self._project)
        return self._blocking

    def async_client(self) -> AwaitingClient:
        """The running loop's awaiting client. No I/O."""
        loop = asyncio.get_running_loop()
        try:
            return self._awaiting[loop]
        except KeyError:
            client = AwaitingClient(self._settings, self._project)
        with self._lock:
            # A loop that was closed without shutdown_asyncgens() has left its client behind.
            for closed in [known for known in self._awaiting if known.is_closed()]:
                del self._awaiting[closed]
            self._awaiting[loop] = client
        _close_with_loop(loop, client, lambda: self._awaiting.pop(loop, None))
        return client

    def close(self) -> None:
        """Close what belongs to this process; awaiting clients are closed with their loops."""
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None

    def forget(self) -> None:
        """Let go of everything without a word to the server: this is a forked child, it is the parent's."""
        self._lock = threading.Lock()
        self._blocking = None
        self._awaiting = {}


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def _after_fork() -> None:
    for connections in list(_all):
        connections.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class BlockingClient:
    """Hands out blocking connections, one per command under way; for any number of threads."""

    def __init__(self, settings: Settings, project: str) -> None:
        self._route = _Route(settings, project, redis.ConnectionPool)
        self._idle: deque[redis.connection.AbstractConnection] = deque()
        self._made = 0
        self._waiting = 0
        self._changed = threading.Condition()

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._route.address

    def execute(self, command: Command | list[Command]) -> Any:
        """The raw reply to ``command``, or the list of replies and errors to a list of commands.

        One round trip. Raises ``SessionStoreError``; never longer than TIMEOUT for each of the
        RETRIES + 1 attempts, and as long again for connecting.
        """
        failures = 0
        while True:
            connection, is_fresh = self._take()
            try:
                if is_fresh:
                    connection.connect()
                reply = _exchange(connection, command)
            except _LOST as error:
                self._drop(connection)
                if isinstance(error, redis.ConnectionError):
                    self._drop_idle()
                # A connection that was closed while it lay idle says nothing about the server.
                failures += is_fresh or isinstance(error, redis.TimeoutError)
                if failures > self._route.retries or isinstance(error, _FINAL):
                    raise self._route.translated(error) from error
            except redis.ResponseError as error:
                self._give_back(connection)
                raise self._route.translated(error) from error
            except BaseException:
                self._drop(connection)
                raise
            else:
                self._give_back(connection)
                return reply

    def close(self) -> None:
        """Close every idle connection; those under way are closed when they come back."""
        self._drop_idle()

    def _take(self) -> tuple[redis.connection.AbstractConnection, bool]:
        """An idle connection, or a new one that is still to be connected, and whether it is new."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        deadline = monotonic() + self._route.budget
        with self._changed:
            # Counted before looking: who gives back looks at the count after putting back.
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._idle.pop(), False
                    except IndexError:
                        pass
                    if self._made < self._route.limit:
                        connection = self._route.new_connection()
                        self._made += 1
                        return connection, True
                    if not self._changed.wait(max(0.0, deadline - monotonic())):
                        raise self._route.all_busy()
            finally:
                self._waiting -= 1

    def _give_back(self, connection: redis.connection.AbstractConnection) -> None:
        self._idle.append(connection)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def _drop(self, connection: redis.connection.AbstractConnection) -> None:
        connection.disconnect()
        with self._changed:
            self._made -= 1
            self._changed.notify()

    def _drop_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self._drop(connection)


def _exchange(connection: redis.connection.AbstractConnection, command: Command | list[Command]) -> Any:
    if isinstance(command, tuple):
        connection.send_packed_command(connection.pack_command(*command), check_health=False)
        return connection.read_response()
    connection.send_packed_command(connection.pack_commands(command), check_health=False)
    replies: list[Any] = []
    for _ in command:
        try:
            replies.append(connection.read_response())
        except redis.ResponseError as error:
            replies.append(error)
    return replies


class AwaitingClient:
    """Hands out connections of one event loop, one per command under way; for any number of tasks."""

    def __init__(self, settings: Settings, project: str) -> None:
        self._route = _Route(settings, project, redis.asyncio.ConnectionPool)
        self._idle: list[redis.asyncio.connection.AbstractConnection] = []
        self._free = asyncio.Semaphore(self._route.limit)

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._route.address

    async def execute(self, command: Command | list[Command]) -> Any:
        """Async twin of ``BlockingClient.execute()``."""
        try:
            async with asyncio.timeout(self._route.budget):
                await self._free.acquire()
        except TimeoutError:
            raise self._route.all_busy() from None
        try:
            return await self._attempts(command)
        finally:
            self._free.release()

    async def aclose(self) -> None:
        """Close every idle connection; those under way are closed when they come back."""
        while self._idle:
            await self._idle.pop().disconnect()

    async def _attempts(self, command: Command | list[Command]) -> Any:
        failures = 0
        while True:
            is_fresh = not self._idle
            connection = self._route.new_connection() if is_fresh else self._idle.pop()
            try:
                if is_fresh:
                    await connection.connect()
                reply = await _aexchange(connection, command)
            except _LOST as error:
                await connection.disconnect(nowait=True)
                if isinstance(error, redis.ConnectionError):
                    await self.aclose()
                failures += is_fresh or isinstance(error, redis.TimeoutError)
                if failures > self._route.retries or isinstance(error, _FINAL):
                    raise self._route.translated(error) from error
            except redis.ResponseError as error:
                self._idle.append(connection)
                raise self._route.translated(error) from error
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            else:
                self._idle.append(connection)
                return reply


# Also keeps a client whose settings were replaced until the tasks that still use it are done.
_lifetimes: dict[asyncio.AbstractEventLoop, list[AsyncGenerator[None]]] = {}


def _close_with_loop(
    loop: asyncio.AbstractEventLoop, client: AwaitingClient, forget: Callable[[], object]
) -> None:
    """Arrange for ``client.aclose()`` when the running ``loop`` ends, and for ``forget()`` to be called then.

    A loop that ends in order finishes the asynchronous generators that were started in it
    (``loop.shutdown_asyncgens()``, part of ``asyncio.run()`` and of asgiref's bridges), so one
    that is suspended until then is the place to clean up.
    """

    async def until_the_loop_ends() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            forget()
            _lifetimes.pop(loop, None)
            await client.aclose()

    for closed in [known for known in list(_lifetimes) if known.is_closed()]:
        _lifetimes.pop(closed, None)
    lifetime = until_the_loop_ends()
    _lifetimes.setdefault(loop, []).append(lifetime)
    try:
        lifetime.__anext__().send(None)
    except StopIteration:
        pass


async def _aexchange(
    connection: redis.asyncio.connection.AbstractConnection, command: Command | list[Command]
) -> Any:
    if isinstance(command, tuple):
        await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        return await connection.read_response()
    await connection.send_packed_command(connection.pack_commands(command), check_health=False)
    replies: list[Any] = []
    for _ in command:
        try:
            replies.append(await connection.read_response())
        except redis.ResponseError as error:
            replies.append(error)
    return replies


class _Route:
    """The way to one server: which connection class of redis-py, with which arguments."""

    def __init__(self, settings: Settings, project: str, pool_class: Any) -> None:
        self._settings = settings
        self._project = project
        self._pool_class = pool_class
        self._lock = threading.Lock()
        self._factory: Callable[[], Any] | None = None
        self.address = _address(settings.url)
        self.retries = settings.retries
        self.budget = settings.timeout * (settings.retries + 1)
        self.limit: int = settings.options.get("max_connections") or MAX_CONNECTIONS

    def new_connection(self) -> Any:
        """A connection that is not connected yet. Starts the embedded server when first called."""
        if self._factory is None:
            with self._lock:
                if self._factory is None:
                    self._factory = self._connection_factory()
        return self._factory()

    def translated(self, error: redis.RedisError) -> Exception:
        return translated(error, self.address, self._settings.timeout)

    def all_busy(self) -> SessionStoreUnavailable:
        return SessionStoreUnavailable(
            f"All {self.limit} connections to Redis at {self.address} were busy for {self.budget:g} s. "
            f"Look at the server, or raise {SETTING}['OPTIONS']['max_connections'].",
            address=self.address,
        )

    def _connection_factory(self) -> Callable[[], Any]:
        url = self._settings.url
        if url.startswith("embedded:"):
            directory = unquote(split_url(url).path)
            url = f"unix://{embedded.socket_for(directory or None, self._project)}"
        try:
            # Only parses the URL and chooses the class; its own hand-out is not used.
            pool = self._pool_class.from_url(url, **self._arguments())
            connection_class, arguments = pool.connection_class, pool.connection_kwargs
            connection_class(**arguments)
        except (TypeError, ValueError, redis.RedisError) as error:
            raise SessionStoreMisconfigured(
                f"redis-py does not accept {SETTING}['URL'] with these ['OPTIONS']: {type(error).__name__}. "
                f"See the documentation of redis-py's connection arguments.",
                address=self.address,
            ) from error
        return lambda: connection_class(**arguments)

    def _arguments(self) -> dict[str, Any]:
        return {
            "socket_timeout": self._settings.timeout,
            "socket_connect_timeout": self._settings.timeout,
            # RESP2 spares a HELLO for each connection and is spoken by every proxy and service.
            "protocol": 2,
            **self._settings.options,
            "retry": redis.asyncio.retry.Retry(NoBackoff(), 0)
            if self._pool_class is redis.asyncio.ConnectionPool
            else redis.retry.Retry(NoBackoff(), 0),
            "retry_on_error": [],
        }


def _address(url: str) -> str:
    parts = split_url(url)
    if parts.scheme in ("unix", "embedded"):
        return f"{parts.scheme}://{parts.path}"
    return f"{parts.hostname}:{parts.port or 6379}"
