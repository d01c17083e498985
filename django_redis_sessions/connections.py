"""Which client serves this process, and which this event loop?

One blocking client per process, which survives a fork, and one awaiting client per running event
loop, which is closed with it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.breaker import Breaker
from django_redis_sessions.clusters import AwaitingCluster, BlockingCluster
from django_redis_sessions.configuration import Settings, target_of
from django_redis_sessions.routes import AWAITING, BLOCKING, Library, Route


class Connections:
    """The clients of one Redis deployment, made when first asked for.

    ``project`` names the project among those that use ``embedded://`` on this machine.
    """

    def __init__(self, settings: Settings, project: str) -> None:
        self._settings = settings
        self._project = project
        self._lock = threading.Lock()
        self._blocking: BlockingClient | BlockingCluster | None = None
        self._awaiting: dict[asyncio.AbstractEventLoop, AwaitingClient | AwaitingCluster] = {}
        self._breakers: dict[str, Breaker] = {}
        self.is_cluster = target_of(settings.url).is_cluster
        _all.add(self)

    def client(self) -> BlockingClient | BlockingCluster:
        """This process's blocking client. No I/O."""
        if self._blocking is None:
            with self._lock:
                if self._blocking is None:
                    self._blocking = self._new_blocking()
        return self._blocking

    def async_client(self) -> AwaitingClient | AwaitingCluster:
        """The running loop's awaiting client. No I/O."""
        loop = asyncio.get_running_loop()
        try:
            return self._awaiting[loop]
        except KeyError:
            client = self._new_awaiting()
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
        self._breakers = {}

    def _new_blocking(self) -> BlockingClient | BlockingCluster:
        if self.is_cluster:
            return BlockingCluster(self._settings, lambda node: BlockingClient(self._route(BLOCKING, node)))
        return BlockingClient(self._route(BLOCKING))

    def _new_awaiting(self) -> AwaitingClient | AwaitingCluster:
        if self.is_cluster:
            return AwaitingCluster(self._settings, lambda node: AwaitingClient(self._route(AWAITING, node)))
        return AwaitingClient(self._route(AWAITING))

    def _route(self, library: Library, node: tuple[str, int] | None = None) -> Route:
        # What one loop or thread has learnt about a server holds for all of them.
        name = f"{node[0]}:{node[1]}" if node else ""
        return Route(self._settings, self._project, library, self._breakers.setdefault(name, Breaker()), node)


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def _after_fork() -> None:
    for connections in list(_all):
        connections.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Closable(Protocol):
    async def aclose(self) -> None: ...


# Also keeps a client whose settings were replaced until the tasks that still use it are done.
_lifetimes: dict[asyncio.AbstractEventLoop, list[AsyncGenerator[None]]] = {}


def _close_with_loop(
    loop: asyncio.AbstractEventLoop, client: _Closable, forget: Callable[[], object]
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
