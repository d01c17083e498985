"""How do many tasks of an event loop talk over one connection at a time?

Commands are written one after another and replies come back in that order, so each belongs to the
request that waits longest. A caller who gives up leaves its place in the line: the reply is read
and thrown away, and nobody else notices. When the oldest request is not answered in time, the
connection is closed and whoever waits on it is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import redis
import redis.asyncio

from django_redis_sessions.operations import Command
from django_redis_sessions.wires import MORE, closed, new_reader, packed, raise_lost, transport_of

#: So many requests may be under way on one connection.
PIPELINE = 256


class Request:
    """A command, or several that must follow each other, and the future that takes the reply."""

    __slots__ = ("_replies", "command", "is_alone", "is_fresh", "packed", "pipe", "reply", "sent", "since")

    def __init__(self, command: Command | list[Command], reply: asyncio.Future[Any], since: float) -> None:
        self.command = command
        # Here, because what cannot be packed is its caller's error, and nobody else's.
        self.packed = packed(command)
        self.reply = reply
        #: When it was made, and when it was sent, on the loop's clock.
        self.since = since
        self.sent = 0.0
        self.pipe: Pipe | None = None
        #: Whether its connection had never answered before it failed.
        self.is_fresh = True
        #: WAIT makes the server keep everything behind it on the same connection waiting.
        self.is_alone = type(command) is list and any(single[0] == "WAIT" for single in command)
        self._replies: list[Any] = []

    def take(self, reply: Any) -> bool:
        """Take a reply; whether it was the last."""
        if type(self.command) is list:
            self._replies.append(reply)
            if len(self._replies) < len(self.command):
                return False
            try:
                raise_lost(self._replies)
            except redis.RedisError as error:
                self.fail(error)
            else:
                self._finish(self._replies)
        elif isinstance(reply, redis.RedisError):
            self.fail(reply)
        else:
            self._finish(reply)
        return True

    def fail(self, error: Exception) -> None:
        """Tell the caller, if somebody still waits."""
        if not self.reply.done():
            self.reply.set_exception(error)

    def _finish(self, reply: Any) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


class Pipe(asyncio.Protocol):
    """One connection of the running event loop.

    ``on_reply`` is called after replies have come, ``on_end`` once, when the connection is gone.
    """

    def __init__(
        self,
        connection: redis.asyncio.connection.AbstractConnection,
        on_reply: Callable[[Pipe], None],
        on_end: Callable[[Pipe], None],
    ) -> None:
        self._connection = connection
        self._on_reply = on_reply
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._timeout: float | None = connection.socket_timeout
        self._reader = new_reader()
        self._sent: deque[Request] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._is_retired = False
        #: Whether it has ever answered.
        self.has_answered = False
        #: Whether it serves a request alone, until that is answered.
        self.is_taken = False
        #: When it was connected, and when it was last used, on the loop's clock.
        self.since = self.idle_since = 0.0

    async def connect(self) -> None:
        """Connect and authenticate; raises redis-py's errors."""
        try:
            await self._connection.connect()
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        self._transport = transport_of(self._connection)
        # redis-py's protocol has read its last reply; it only has to hear of the end.
        self._former = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self.since = self.idle_since = self._loop.time()

    async def disconnect(self) -> None:
        """Wait until the connection, which has ended, is closed."""
        await closed(self._connection)

    @property
    def room(self) -> int:
        """How many more requests may be sent now."""
        return 0 if self.is_taken else PIPELINE - len(self._sent)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._sent

    def send(self, requests: list[Request]) -> None:
        """Send requests in one piece."""
        now = self._loop.time()
        for request in requests:
            request.pipe = self
            request.sent = now
        self._sent.extend(requests)
        self._transport.write(b"".join([request.packed for request in requests]))
        if self._timer is None and self._timeout is not None:
            self._timer = self._loop.call_at(now + self._timeout, self._look_at_clock)

    def end(self, error: redis.RedisError) -> None:
        """Close the connection at once; whoever waits on it gets ``error``."""
        if self._has_ended:
            return
        self._has_ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        now = self._loop.time()
        for request in self._sent:
            request.is_fresh = not self.has_answered
            if isinstance(error, redis.TimeoutError) and request.sent + (self._timeout or 0) > now:
                request.fail(redis.ConnectionError("Connection closed because another request timed out"))
            else:
                request.fail(copied(error))
        self._sent.clear()
        self._on_end(self)

    def retire(self) -> None:
        """Close the connection once those who wait on it have been answered."""
        self._is_retired = True
        if self.is_idle:
            self.end(redis.ConnectionError("Connection closed because it was not needed any more"))

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Give each reply to the request that waits longest."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not MORE:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if self._sent[0].take(reply):
                    self._sent.popleft()
        except redis.RedisError as error:
            self.end(error)
            return
        except IndexError:
            self.end(redis.ConnectionError("The server sent what nobody had asked for"))
            return
        self.has_answered = True
        self.idle_since = self._loop.time()
        self._on_reply(self)
        if self._is_retired:
            self.retire()

    def connection_lost(self, error: Exception | None) -> None:
        """The server, or we, have closed the connection."""
        self._former.connection_lost(None)
        reason = f"Error on the connection. {error}" if error else "Connection closed by server."
        self.end(redis.ConnectionError(reason))

    def _look_at_clock(self) -> None:
        # Each request waits equally long, so the oldest is the first whose time is up.
        self._timer = None
        if not self._sent or self._timeout is None:
            return
        due = self._sent[0].sent + self._timeout
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look_at_clock)
        else:
            self.end(redis.TimeoutError("Timeout while waiting for the server"))


def copied(error: redis.RedisError) -> redis.RedisError:
    """An error for one more caller: each collects the trace of whoever raises it."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
