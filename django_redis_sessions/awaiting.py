"""How does a task get hold of a connection of its event loop, and let go of it?

The twin of ``blocking``, with the same rules: a connection that an error, a time-out or a
cancellation left in the middle of a reply is closed and never handed on.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import redis
import redis.asyncio

from django_redis_sessions import faults
from django_redis_sessions.blocking import PROBE_PATIENCE
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command
from django_redis_sessions.routes import Route

_LOST = (redis.ConnectionError, redis.TimeoutError)


class AwaitingClient:
    """Hands out connections of one event loop to one server, one per command under way; for any number of tasks."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._idle: list[redis.asyncio.connection.AbstractConnection] = []
        self._free = asyncio.Semaphore(self._route.limit)
        self._probing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where the server is, without credentials."""
        return self._route.address

    async def execute(self, command: Command | list[Command]) -> Any:
        """Async twin of ``BlockingClient.execute()``."""
        try:
            reply = await self.exchange(command)
        except redis.RedisError as error:
            raise self.translated(error) from (error if faults.is_quotable(error) else None)
        if isinstance(command, list):
            return [self.translated(item) if isinstance(item, redis.RedisError) else item for item in reply]
        return reply

    async def exchange(self, command: Command | list[Command]) -> Any:
        """Async twin of ``BlockingClient.exchange()``."""
        if self._route.breaker.is_open:
            await self._await_recovery()
        try:
            async with asyncio.timeout(self._route.budget):
                await self._free.acquire()
        except TimeoutError:
            raise self._route.all_busy() from None
        try:
            return await self._attempts(command)
        finally:
            self._free.release()

    def translated(self, error: redis.RedisError) -> SessionStoreError:
        """The error of ours that ``error`` of this server stands for."""
        return self._route.translated(error)

    async def nodes(self) -> list[AwaitingClient]:
        """Async twin of ``BlockingClient.nodes()``."""
        return [self]

    async def aclose(self) -> None:
        """Close every idle connection; those under way are closed when they come back."""
        while self._idle:
            await self._idle.pop().disconnect()
        await self._route.aclose()

    async def _attempts(self, command: Command | list[Command]) -> Any:
        failures = 0
        while True:
            is_fresh = not self._idle
            connection = self._route.new_connection() if is_fresh else self._idle.pop()
            try:
                if is_fresh:
                    await connection.connect()
                reply = await _exchange(connection, command)
            except _LOST as error:
                await connection.disconnect(nowait=True)
                if faults.is_final(error):
                    self._route.answered()
                    raise
                if isinstance(error, redis.ConnectionError):
                    await self._drop_idle()
                if is_fresh or isinstance(error, redis.TimeoutError):
                    failures += 1
                    self._route.failed(error)
                if failures > self._route.retries:
                    raise
            except redis.ResponseError as error:
                self._route.answered()
                if not faults.is_misleading(error):
                    self._idle.append(connection)
                    raise
                await connection.disconnect(nowait=True)
                await self._drop_idle()
                failures += 1
                if failures > self._route.retries:
                    raise
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            else:
                self._route.answered()
                self._idle.append(connection)
                return reply

    async def _drop_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def _await_recovery(self) -> None:
        now = monotonic()
        breaker = self._route.breaker
        if breaker.may_probe(now):
            self._probing = asyncio.create_task(self._probe())
            await asyncio.wait([self._probing], timeout=PROBE_PATIENCE)
        if breaker.is_open:
            raise self._route.out_of_order(now - breaker.since)

    async def _probe(self) -> None:
        try:
            connection = self._route.new_connection()
            try:
                await connection.connect()
                await _exchange(connection, ("PING",))
            finally:
                await connection.disconnect(nowait=True)
        except _LOST as error:
            if not faults.is_final(error):
                return
            # An answer, of a kind: whoever asks next will be told.
        except redis.RedisError:
            pass  # an answer as well
        self._route.answered()


async def _exchange(
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
