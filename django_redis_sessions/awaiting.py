"""How do the tasks of an event loop share its connections?

The twin of ``blocking``. What the tasks ask for in one turn of the loop travels in one piece, over
as few connections as possible; a cancelled or failed request disturbs no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Any

import redis
import redis.asyncio

from django_redis_sessions import faults
from django_redis_sessions.attempts import Attempts, Verdict
from django_redis_sessions.breaker import PROBE_PATIENCE
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command
from django_redis_sessions.pipes import Pipe, Request, copied
from django_redis_sessions.routes import LONGEST_REST, Route


class AwaitingClient:
    """Shares connections of one event loop to one server; for any number of tasks."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._loop = asyncio.get_running_loop()
        # The first that has room is used, so those at the end rest.
        self._pipes: list[Pipe] = []
        self._unsent: deque[Request] = deque()
        self._is_due = False
        self._opening: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
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
        attempts: Attempts | None = None
        while True:
            request = Request(command, self._loop.create_future(), self._loop.time())
            self._unsent.append(request)
            if not self._is_due:
                self._is_due = True
                self._loop.call_soon(self._send)
            try:
                return await request.reply
            except redis.RedisError as error:
                attempts = attempts or Attempts(self._route.retries)
                verdict = attempts.judge(error, request.is_fresh)
                if not verdict.keeps:
                    self._drop(request, verdict)
                self._route.learn(verdict, error)
                if not verdict.again:
                    raise

    def translated(self, error: redis.RedisError) -> SessionStoreError:
        """The error of ours that ``error`` of this server stands for."""
        return self._route.translated(error)

    async def nodes(self) -> list[AwaitingClient]:
        """Async twin of ``BlockingClient.nodes()``."""
        return [self]

    def new_connection(self) -> Any:
        """A connection of redis-py's for the caller alone, not connected yet; whoever asks for it closes it."""
        return self._route.new_connection()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        for pipe in list(self._pipes):
            pipe.end(redis.ConnectionError("Connection closed by its owner"))
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._route.aclose()

    def _send(self) -> None:
        """Send what has come together, as far as there is room."""
        self._is_due = False
        kept: list[Request] = []
        while self._unsent:
            first = self._unsent.popleft()
            if first.reply.done():
                continue  # its caller has gone
            pipe = self._pipe_for(first)
            if pipe is None:
                kept.append(first)
                if first.is_alone:
                    continue
                break
            batch = [first]
            if first.is_alone:
                pipe.is_taken = True
            else:
                self._fill(batch, pipe.room)
            pipe.send(batch)
        self._unsent.extendleft(reversed(kept))
        if self._unsent:
            self._open_another()
            self._watch_the_first()

    def _fill(self, batch: list[Request], room: int) -> None:
        while self._unsent and len(batch) < room and not self._unsent[0].is_alone:
            request = self._unsent.popleft()
            if not request.reply.done():
                batch.append(request)

    def _pipe_for(self, request: Request) -> Pipe | None:
        if self._pipes and self._pipes[-1].is_idle:
            self._close_one_that_rests()
        if request.is_alone:
            return next((pipe for pipe in reversed(self._pipes) if pipe.is_idle), None)
        return next((pipe for pipe in self._pipes if pipe.room > 0), None)

    def _close_one_that_rests(self) -> None:
        """The last one is the one that was not needed for longest."""
        if self._loop.time() - self._pipes[-1].idle_since >= LONGEST_REST:
            self._pipes.pop().retire()

    def _open_another(self) -> None:
        if self._opening is None and len(self._pipes) < self._route.limit:
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        pipe = None
        try:
            opened = Pipe(self._route.new_connection(), self._has_answered, self._has_ended)
            await opened.connect()
            pipe = opened
        except asyncio.CancelledError:
            self._fail_unsent(redis.ConnectionError("Connection given up while it was being made"))
            raise
        except Exception as error:  # whatever it is concerns those who wait for the connection
            self._fail_unsent(error)
        finally:
            self._opening = None
        if pipe is not None:
            self._pipes.append(pipe)
            self._send()

    def _fail_unsent(self, error: Exception) -> None:
        if self._pipes:
            return  # which will be served by others
        while self._unsent:
            self._unsent.popleft().fail(copied(error) if isinstance(error, redis.RedisError) else error)

    def _has_answered(self, pipe: Pipe) -> None:
        self._route.answered()
        if pipe.is_taken and pipe.is_idle:
            pipe.is_taken = False
        if self._unsent:
            self._send()

    def _has_ended(self, pipe: Pipe) -> None:
        if pipe in self._pipes:
            self._pipes.remove(pipe)
        closing = self._loop.create_task(pipe.disconnect())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if self._unsent:
            self._send()

    def _drop(self, request: Request, verdict: Verdict) -> None:
        """Let nobody else use the connection that ``request`` has failed on, nor older ones if they lead nowhere."""
        for pipe in list(self._pipes):
            if pipe is request.pipe or (verdict.drops_others and pipe.since <= request.sent):
                self._pipes.remove(pipe)
                pipe.retire()

    def _watch_the_first(self) -> None:
        """Whoever is not served within the budget is told so."""
        if self._expiry is None:
            self._expiry = self._loop.call_at(self._unsent[0].since + self._route.budget, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = self._loop.time()
        while self._unsent and self._unsent[0].since + self._route.budget <= now:
            late = self._route.translated(redis.TimeoutError("No connection within the budget"))
            self._unsent.popleft().fail(self._route.all_busy() if self._pipes else late)
        if self._unsent:
            self._watch_the_first()

    async def _await_recovery(self) -> None:
        now = monotonic()
        breaker = self._route.breaker
        if breaker.may_probe(now):
            self._probing = asyncio.create_task(self._probe())
            await asyncio.wait([self._probing], timeout=PROBE_PATIENCE)
        if breaker.is_open:
            raise self._route.out_of_order(now - breaker.since)

    async def _probe(self) -> None:
        connection = self._route.new_connection()
        try:
            await connection.connect()
            await connection.send_command("PING")
            await connection.read_response()
        except redis.RedisError as error:
            self._route.probe_failed(error)
        else:
            self._route.answered()
        finally:
            await connection.disconnect(nowait=True)
