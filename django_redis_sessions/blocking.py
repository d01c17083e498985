"""How does a blocking caller get hold of a connection, and let go of it?

The connections are redis-py's; ours is only who holds one, and when. A connection that an error, a
time-out or an interruption left in the middle of a reply is closed and never handed on: its next
reader would receive somebody else's session.

Every command this package sends may be repeated without harm, so a connection that turns out to
be closed is replaced at once, and ``RETRIES`` more attempts follow a failure.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import Any

import redis

from django_redis_sessions import faults
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command
from django_redis_sessions.routes import Route

#: How long a caller waits for a probe that may show that the server is back, in seconds.
PROBE_PATIENCE = 0.05

_LOST = (redis.ConnectionError, redis.TimeoutError)


class BlockingClient:
    """Hands out blocking connections to one server, one per command under way; for any number of threads."""

    def __init__(self, route: Route) -> None:
        self._route = route
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
        RETRIES + 1 attempts, and as long again for connecting. Fails at once while the server is
        known not to answer.
        """
        try:
            reply = self.exchange(command)
        except redis.RedisError as error:
            raise self.translated(error) from (error if faults.is_quotable(error) else None)
        if isinstance(command, list):
            return [self.translated(item) if isinstance(item, redis.RedisError) else item for item in reply]
        return reply

    def exchange(self, command: Command | list[Command]) -> Any:
        """As ``execute()``, with redis-py's own errors."""
        if self._route.breaker.is_open:
            self._await_recovery()
        failures = 0
        while True:
            connection, is_fresh = self._take()
            try:
                if is_fresh:
                    connection.connect()
                reply = _exchange(connection, command)
            except _LOST as error:
                self._drop(connection)
                if faults.is_final(error):
                    self._route.answered()
                    raise
                if isinstance(error, redis.ConnectionError):
                    self._drop_idle()
                # A connection that was closed while it lay idle says nothing about the server.
                if is_fresh or isinstance(error, redis.TimeoutError):
                    failures += 1
                    self._route.failed(error)
                if failures > self._route.retries:
                    raise
            except redis.ResponseError as error:
                self._route.answered()
                if not faults.is_misleading(error):
                    self._give_back(connection)
                    raise
                self._drop(connection)
                self._drop_idle()
                failures += 1
                if failures > self._route.retries:
                    raise
            except BaseException:
                self._drop(connection)
                raise
            else:
                self._route.answered()
                self._give_back(connection)
                return reply

    def translated(self, error: redis.RedisError) -> SessionStoreError:
        """The error of ours that ``error`` of this server stands for."""
        return self._route.translated(error)

    def nodes(self) -> list[BlockingClient]:
        """The clients to look through all keys with: this one."""
        return [self]

    def close(self) -> None:
        """Close every idle connection; those under way are closed when they come back."""
        self._drop_idle()

    def _await_recovery(self) -> None:
        """Go on if the server answers again; otherwise fail at once, having seen to it that somebody asks."""
        now = monotonic()
        breaker = self._route.breaker
        if breaker.may_probe(now):
            probe = threading.Thread(target=self._probe, name="redis-sessions-probe", daemon=True)
            probe.start()
            probe.join(PROBE_PATIENCE)
        if breaker.is_open:
            raise self._route.out_of_order(now - breaker.since)

    def _probe(self) -> None:
        try:
            connection = self._route.new_connection()
            try:
                connection.connect()
                _exchange(connection, ("PING",))
            finally:
                connection.disconnect()
        except _LOST as error:
            if not faults.is_final(error):
                return
            # An answer, of a kind: whoever asks next will be told.
        except redis.RedisError:
            pass  # an answer as well
        self._route.answered()

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
