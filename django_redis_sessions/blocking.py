"""How does a blocking caller get hold of a connection, and let go of it?

A connection that an error, a time-out or an interruption left in the middle of a reply is closed
and never handed on: its next reader would receive somebody else's session. One that has lain idle
for long is replaced rather than tried, since a firewall may have forgotten it without a word; so no
connection has to be asked whether it is alive before each use.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from time import monotonic
from typing import Any

import redis

from django_redis_sessions import faults
from django_redis_sessions.attempts import Attempts
from django_redis_sessions.breaker import PROBE_PATIENCE
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command
from django_redis_sessions.routes import LONGEST_REST, Route
from django_redis_sessions.wires import Wire


class BlockingClient:
    """Hands out blocking connections to one server, one per command under way; for any number of threads."""

    def __init__(self, route: Route) -> None:
        self._route = route
        # The one that was used last is the next to be used, so the first has rested longest.
        self._idle: deque[Wire] = deque()
        self._made = 0
        self._waiting = 0
        self._changed = threading.Condition()
        # Of a client that is let go, Python's collector could find a socket before its connection.
        weakref.finalize(self, _close_all, self._idle).atexit = False

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
        attempts: Attempts | None = None
        while True:
            wire = self._take()
            is_fresh = not wire.is_connected
            try:
                if is_fresh:
                    wire.connect()
                reply = wire.exchange(command)
            except redis.RedisError as error:
                attempts = attempts or Attempts(self._route.retries)
                verdict = attempts.judge(error, is_fresh)
                if verdict.keeps:
                    self._give_back(wire)
                else:
                    self._drop(wire)
                if verdict.drops_others:
                    self._drop_idle()
                self._route.learn(verdict, error)
                if not verdict.again:
                    raise
            except BaseException:
                self._drop(wire)
                raise
            else:
                self._route.answered()
                self._give_back(wire)
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
        wire = Wire(self._route.new_connection())
        try:
            wire.connect()
            wire.exchange(("PING",))
        except redis.RedisError as error:
            self._route.probe_failed(error)
        else:
            self._route.answered()
        finally:
            wire.close()

    def _take(self) -> Wire:
        """An idle connection, or a new one that is still to be connected."""
        try:
            wire = self._idle.pop()
        except IndexError:
            return self._made_or_awaited()
        if monotonic() - wire.idle_since < LONGEST_REST:
            return wire
        # Those that were used before it have rested longer.
        self._drop(wire)
        self._drop_idle()
        return self._made_or_awaited()

    def _made_or_awaited(self) -> Wire:
        deadline = monotonic() + self._route.budget
        with self._changed:
            # Counted before looking: who gives back looks at the count after putting back.
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass
                    if self._made < self._route.limit:
                        wire = Wire(self._route.new_connection())
                        self._made += 1
                        return wire
                    if not self._changed.wait(max(0.0, deadline - monotonic())):
                        raise self._route.all_busy()
            finally:
                self._waiting -= 1

    def _give_back(self, wire: Wire) -> None:
        wire.idle_since = monotonic()
        self._idle.append(wire)
        if self._waiting:
            with self._changed:
                self._changed.notify()
        elif len(self._idle) > 1:
            self._drop_one_that_rests(wire.idle_since)

    def _drop_one_that_rests(self, now: float) -> None:
        """After a rush its connections go one by one."""
        try:
            if now - self._idle[0].idle_since < LONGEST_REST:
                return
            wire = self._idle.popleft()
        except IndexError:
            return  # other threads have taken them
        self._drop(wire)

    def _drop(self, wire: Wire) -> None:
        wire.close()
        with self._changed:
            self._made -= 1
            self._changed.notify()

    def _drop_idle(self) -> None:
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            self._drop(wire)


def _close_all(idle: deque[Wire]) -> None:
    while idle:
        idle.pop().close()
