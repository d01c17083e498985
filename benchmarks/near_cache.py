"""Would a cache of records in each process earn its place? ``python -m benchmarks near-cache``.

Measures what such a cache could save and what it costs: a load over the network against one whose
record is at hand already, redis-py's own client-side cache, how late it hears of a change, and how
often several processes that share the visitors would find a record at hand. The decision that
rests on it is in docs/reasons.md.
"""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Callable
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

import redis
from redis.cache import CacheConfig

from benchmarks.contenders import THIS
from benchmarks.content import TYPICAL
from benchmarks.measuring import undisturbed
from benchmarks.report import Table
from benchmarks.workers import EngineWorker
from django_redis_sessions import conf, operations
from tests.servers import RedisServer, free_port

TIMES, ROUNDS = 300, 15


def measure(path: str) -> Table:
    """A row for each figure."""
    THIS.turn_to()
    key = EngineWorker(THIS).create(TYPICAL)
    # redis-py caches over TCP only.
    with RedisServer(port=free_port()) as server:
        rows = [*_times(path, key, server.port), *_lateness(server.port), *_hits()]
    return Table(
        "A near cache", "What it would save, how late it is, how often it serves.", ["", "measured"], rows
    )


def _times(path: str, key: str, port: int) -> list[list[str]]:
    store_class = THIS.session_store()
    store = conf.store()
    name = store.keys.record(key)
    record = store.connections.client().execute(("GET", name))

    plain = _client(port)
    plain.set(name, record)

    def at_hand() -> object:
        session = store_class(key)
        return session._perform(session._loading(operations.known(record)))

    cases: dict[str, Callable[[], object]] = {
        "load, record fetched over a unix socket": lambda: store_class(key).load(),
        "load, record at hand": at_hand,
        "redis-py GET over TCP": lambda: plain.get(name),
    }
    try:
        cached = _client(port, protocol=3, cache_config=CacheConfig(max_size=10_000))
        cached.get(name)
    except redis.RedisError as error:
        print(f"redis-py's own cache: {error}", file=sys.stderr)
    else:
        cases["the same from its cache"] = lambda: cached.get(name)
    found: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for case, operate in cases.items():
            found[case].append(_microseconds(operate))
    return [[case, f"{median(timings):.1f} µs"] for case, timings in found.items()]


def _lateness(port: int) -> list[list[str]]:
    try:
        cached = _client(port, protocol=3, cache_config=CacheConfig(max_size=10_000))
        cached.set("late", "0")
        cached.get("late")
    except redis.RedisError:
        return []
    writer = _client(port)
    late = []
    for number in range(1, 300):
        text = str(number).encode()
        writer.set("late", text)
        began = perf_counter()
        stale = 0
        while cached.get("late") != text:
            stale += 1
        late.append((perf_counter() - began) * 1e6)
    return [
        ["until a change is seen, median", f"{median(late):.0f} µs"],
        ["until a change is seen, longest of 299", f"{max(late):.0f} µs"],
    ]


def _hits() -> list[list[str]]:
    rows = []
    for processes in (1, 4, 16):
        for saving in (0.0, 0.2):
            share = _share_of_hits(processes, saving)
            rows.append(
                [f"found at hand, {processes} processes, {saving:.0%} of requests save", f"{share:.0%}"]
            )
    return rows


def _share_of_hits(processes: int, saving: float) -> float:
    """2,000 visitors of 12 requests each, any process serves any request, each process holds 10,000 records."""
    generator = random.Random(20261121)
    requests = [visitor for visitor in range(2000) for _ in range(12)]
    # A visitor's requests are near each other in time.
    requests.sort(key=lambda visitor: visitor + generator.random() * 200)
    caches: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(processes)]
    hits = 0
    for visitor in requests:
        cache = caches[generator.randrange(processes)]
        hits += visitor in cache
        cache[visitor] = None
        if generator.random() < saving:
            for each in caches:
                each.pop(visitor, None)
    return hits / len(requests)


def _client(port: int, **options: Any) -> redis.Redis:
    return redis.Redis(port=port, **options)


def _microseconds(operate: Callable[[], object]) -> float:
    with undisturbed():
        start = perf_counter()
        for _ in repeat(None, TIMES):
            operate()
        return (perf_counter() - start) / TIMES * 1e6
