"""What does each operation cost when many asynchronous requests share one event loop?

Two surroundings. "bare": the requests are tasks of one loop and nothing else, which is best for
engines that go through threads, since all share one thread and one cache object. "asgi": each
request runs in a task, a context and a ``ThreadSensitiveContext`` of its own, as Django's ASGI
handler has it, so those engines start a thread for each request and Django's Redis cache connects
anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from itertools import count, cycle, islice
from time import perf_counter, process_time
from typing import Any, Protocol

import redis.asyncio
from asgiref.sync import ThreadSensitiveContext

from benchmarks.contenders import CACHED_DB, DB, REDIS_PY, Contender
from benchmarks.content import TYPICAL
from benchmarks.measuring import Rounds, Sample, Series, compared, enough, rotated, undisturbed
from benchmarks.traffic import Counter, Traffic
from benchmarks.workers import LIFE, EngineWorker, found, record_of

#: Sessions that requests use in turn; no two requests that run together use the same one.
SESSIONS = 200
CONCURRENT = (1, 10, 200)
#: Engines whose saves would wait for the database's file and say nothing about the loop.
ONLY_LOADS = (CACHED_DB, DB)

Request = Callable[[str], Awaitable[object]]


class AsyncWorker(Protocol):
    """One contender at work on an event loop."""

    keys: Sequence[str]

    async def load(self, key: str) -> object:
        """A request that reads its session."""

    async def save(self, key: str) -> object:
        """A request that reads its session and changes one key."""

    async def close(self) -> None:
        """Let go of connections, and of the sessions."""


class AsyncEngineWorker:
    """Any session engine of Django's kind, by its own asynchronous methods."""

    def __init__(self, contender: Contender) -> None:
        self._store = contender.session_store()
        self._number = count(2)
        blocking = EngineWorker(contender)
        self.keys: Sequence[str] = [blocking.create(TYPICAL) for _ in range(SESSIONS)]

    async def load(self, key: str) -> object:
        return found(await self._store(key).aload())

    async def save(self, key: str) -> object:
        session = self._store(key)
        await session.aset("visits", next(self._number))
        return await session.asave()

    async def close(self) -> None:
        pass


class RedisAsyncioWorker:
    """redis-py's asynchronous client with the bytes this package stores; enough connections for everybody."""

    def __init__(self, path: str) -> None:
        self._client: Any = redis.asyncio.Redis(unix_socket_path=path, max_connections=max(CONCURRENT))
        self.keys: Sequence[str] = [f"redis-asyncio:{number:032}" for number in range(SESSIONS)]
        with redis.Redis(unix_socket_path=path) as blocking:
            for key in self.keys:
                blocking.set(key, record_of(TYPICAL), ex=LIFE)

    async def load(self, key: str) -> object:
        return await self._client.get(key)

    async def save(self, key: str) -> object:
        return await self._client.set(key, await self._client.get(key), xx=True, ex=LIFE)

    async def close(self) -> None:
        await self._client.aclose()


@dataclass(frozen=True, slots=True)
class Case:
    """So many requests at a time that do one thing."""

    method: str
    concurrent: int
    surroundings: str

    @property
    def name(self) -> str:
        """As results call it."""
        work = "load" if self.method == "load" else "load + save"
        return f"{self.surroundings}: {work}, {self.concurrent} at a time"

    def includes(self, contender: Contender) -> bool:
        """Whether the contender takes part in it."""
        if self.surroundings == "asgi" and (contender == REDIS_PY or contender in ONLY_LOADS):
            return False
        return self.method == "load" or contender not in ONLY_LOADS


CASES = [
    Case(method, concurrent, surroundings)
    for surroundings in ("bare", "asgi")
    for method in ("load", "save")
    for concurrent in CONCURRENT
]


class Entry:
    """One contender in one case."""

    def __init__(self, case: Case, contender: Contender, worker: AsyncWorker) -> None:
        self.case = case
        self.contender = contender
        self.series = Series()
        self.traffic: Traffic | None = None
        self._keys = worker.keys
        request: Request = getattr(worker, case.method)
        self._request = as_asgi(request) if case.surroundings == "asgi" else request
        self._operations = max(20, case.concurrent)

    async def prepare(self, counter: Counter, least: float) -> None:
        """Warm up, count what travels, and find out how many requests make a batch."""
        self.contender.turn_to()
        await self._batch()
        if self.contender.is_on_redis:
            before = counter.look()
            first = await self._batch()
            self.traffic = counter.since(before, self._operations)
        else:
            first = await self._batch()
        self._operations = enough(first.seconds, least, smallest=self._operations, largest=2_000)

    async def measure(self) -> None:
        """One more round."""
        self.contender.turn_to()
        self.series.samples.append(await self._batch())

    async def _batch(self) -> Sample:
        keys = islice(cycle(self._keys), self._operations)
        with undisturbed():
            cpu, start = process_time(), perf_counter()
            await asyncio.gather(*(_visitor(self._request, keys) for _ in range(self.case.concurrent)))
            seconds, cpu = perf_counter() - start, process_time() - cpu
        return Sample(seconds / self._operations, cpu / self._operations)


async def _visitor(request: Request, keys: Iterator[str]) -> None:
    """One request after the other, for whatever session is next."""
    for key in keys:
        await request(key)


def as_asgi(request: Request) -> Request:
    """``request`` as Django's ASGI handler surrounds it."""

    async def handle(key: str) -> object:
        async with ThreadSensitiveContext():
            return await request(key)

    async def in_a_task(key: str) -> object:
        # A server's tasks do not inherit what other requests have put into their contexts.
        return await asyncio.get_running_loop().create_task(handle(key), context=Context())

    return in_a_task


def measure(
    contenders: Sequence[Contender],
    path: str,
    *,
    cases: Sequence[Case],
    rounds: Rounds,
    least: float,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """``{case: {contender: figures}}``; a batch takes at least ``least`` seconds."""
    workers: dict[Contender, AsyncWorker] = {}
    for contender in contenders:
        contender.turn_to()
        if contender.engine:
            workers[contender] = AsyncEngineWorker(contender)
        elif contender == REDIS_PY:
            workers[contender] = RedisAsyncioWorker(path)
    entries = [
        [Entry(case, contender, worker) for contender, worker in workers.items() if case.includes(contender)]
        for case in cases
    ]
    counter = Counter(path)

    async def on_one_loop() -> None:
        for case in entries:
            progress(f"warming up: {case[0].case.name}")
            for entry in case:
                await entry.prepare(counter, least)
        for turn in rounds:
            progress(f"round {turn + 1}")
            for case in entries:
                for entry in rotated(case, turn):
                    await entry.measure()
        for worker in workers.values():
            await worker.close()

    asyncio.run(on_one_loop())
    counter.close()
    return {case[0].case.name: compared(case) for case in entries}
