"""How does an event loop hear what is published on a channel?

Over a connection of its own, because a connection that is subscribed can do little else under RESP2.
Redis keeps nothing that it hands on: what is published while nobody is connected is lost, and whoever
depends on it has to look for itself after each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
import redis

from django_redis_sessions import faults
from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.operations import Command
from django_redis_sessions.wires import MORE, closed, new_reader, packed, transport_of


class Subscription(asyncio.Protocol):
    """One connection that hears one channel; ``on_message`` gets each message, on the running loop."""

    def __init__(self, client: AwaitingClient, channel: str, on_message: Callable[[bytes], None]) -> None:
        self._client = client
        self._connection = client.new_connection()
        self._channel = channel
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._reader = new_reader()
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[redis.RedisError] = self._loop.create_future()
        self._answer: asyncio.Future[None] = self._loop.create_future()

    async def open(self) -> None:
        """Connect, and wait until Redis hands messages on; raises ``SessionStoreError``."""
        try:
            await self._connection.connect()
        except redis.RedisError as error:
            self._raise(error)
        self._transport = transport_of(self._connection)
        # redis-py's protocol has read its last reply; it only has to hear of the end.
        self._former = self._transport.get_protocol()
        self._transport.set_protocol(self)
        await self._ask(("SUBSCRIBE", self._channel))

    async def stay(self, seconds: float) -> None:
        """Let messages come for so long, and see that the server is still there; raises ``SessionStoreError``.

        A peer that is gone without a word, as when a cable is pulled, is found out by the question.
        """
        await self._wait_for(self._loop.create_future(), seconds)
        await self._ask(("PING",))

    async def aclose(self) -> None:
        """Close the connection, whatever state it is in."""
        if self._transport is None:
            await self._connection.disconnect(nowait=True)
        else:
            self._transport.abort()
            await closed(self._connection)

    async def _ask(self, command: Command) -> None:
        self._answer = self._loop.create_future()
        assert self._transport is not None
        self._transport.write(packed(command))
        if not await self._wait_for(self._answer, self._connection.socket_timeout):
            self._raise(redis.TimeoutError("Timeout while waiting for the server"))

    async def _wait_for(self, future: asyncio.Future[None], seconds: float | None) -> bool:
        """Whether ``future`` was done in time; raises what the connection was lost with."""
        either: list[asyncio.Future[Any]] = [future, self._lost]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._raise(self._lost.result())
        return future.done()

    def _raise(self, error: redis.RedisError) -> None:
        raise self._client.translated(error) from (error if faults.is_quotable(error) else None)

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Hand messages on; everything else is the answer to what was asked last."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not MORE:
                self._take(reply)
        except redis.RedisError as error:
            self._has_ended(error)

    def connection_lost(self, error: Exception | None) -> None:
        """The server, or we, have closed the connection."""
        self._former.connection_lost(None)
        reason = f"Error on the connection. {error}" if error else "Connection closed by server."
        self._has_ended(redis.ConnectionError(reason))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, redis.RedisError):
            self._has_ended(reply)
        elif isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            self._on_message(reply[2])
        elif not self._answer.done() and (
            not isinstance(reply, hiredis.PushNotification) or reply[:1] == [b"subscribe"]
        ):
            self._answer.set_result(None)

    def _has_ended(self, error: redis.RedisError) -> None:
        if not self._lost.done():
            self._lost.set_result(error)
