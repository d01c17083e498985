"""Where does the time of a load go, here and in redis-py?

The parts of a load are done one after the other, as a load does them, with a look at the clock
(0.1 µs) between them: while the client computes, the server falls asleep and caches are filled with
other things, so a part costs more there than in a loop of its own. Both figures are shown.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

import hiredis
import redis
from django.contrib.sessions.serializers import JSONSerializer

from benchmarks.contenders import THIS
from benchmarks.content import TYPICAL
from benchmarks.measuring import rotated, undisturbed
from benchmarks.report import Table, shown
from benchmarks.traffic import packed
from benchmarks.workers import EngineWorker
from django_redis_sessions import conf, keys, operations, wires
from django_redis_sessions.executors import run

#: How often a part is done in each round.
TIMES = 300

Part = Callable[[], object]

SESSION = "make the session object"
NAME = "name the Redis key"
TAKE = "hand out a connection"
PACK = "pack the command"
SEND = "send it"
RECEIVE = "wait for the reply, receive and parse it"
GIVE_BACK = "take the connection back"
OPEN = "open the record: check, inflate"
JSON = "read the JSON"
PERFORM = "perform an operation that is answered already"
COMMAND = "one command, whole"
LOAD = "load, whole"
REST = "what is between the parts"
#: Cannot be repeated without their counterparts.
_NEVER_ALONE = (TAKE, SEND, RECEIVE, GIVE_BACK)


class Side:
    """One client: the parts of its load in their order, and what they are parts of."""

    def __init__(self, parts: Mapping[str, Part], wholes: Mapping[str, Part]) -> None:
        self.parts = parts
        self.wholes = wholes
        self.alone: dict[str, list[float]] = {
            name: [] for name in (*parts, *wholes) if name not in _NEVER_ALONE
        }
        self.in_sequence: dict[str, list[float]] = {name: [] for name in parts}

    def measure(self) -> None:
        """One more round."""
        for name, timings in self.alone.items():
            timings.append(_alone(self.parts.get(name) or self.wholes[name]))
        for name, microseconds in _in_sequence(self.parts).items():
            self.in_sequence[name].append(microseconds)

    def cells(self, name: str) -> tuple[str, str]:
        """In sequence, and alone."""
        if name == REST:
            whole = self.alone[list(self.wholes)[-1]]
            sums = map(sum, zip(*self.in_sequence.values(), strict=True))
            return shown(median(all_ - parts for all_, parts in zip(whole, sums, strict=True))), "–"
        cells = (self.in_sequence.get(name), self.alone.get(name))
        first, second = (shown(median(timings) if timings else None) for timings in cells)
        return first, second


def measure(path: str, *, rounds: int) -> Table:
    """A row for each part, in microseconds."""
    THIS.turn_to()
    key = EngineWorker(THIS).create(TYPICAL)
    sides = [_ours(key), _redis_py(path, key), _raw(path, key)]
    for turn in range(rounds):
        for side in rotated(sides, turn):
            side.measure()
    rows = [
        SESSION,
        NAME,
        TAKE,
        PACK,
        SEND,
        RECEIVE,
        GIVE_BACK,
        OPEN,
        JSON,
        PERFORM,
        REST,
        COMMAND,
        LOAD,
    ]
    head = ["this package", "alone", "redis-py", "alone", "raw socket", "alone"]
    return Table(
        "Layers of a load",
        "Microseconds of each part where it stands in a load, and alone in a loop.",
        ["", *head],
        [[name, *(cell for side in sides for cell in side.cells(name))] for name in rows],
    )


def _ours(key: str) -> Side:
    store = conf.store()
    # Some of the parts are private: this follows them when they change.
    client: Any = store.connections.client()
    name = store.keys.record(key)
    record: bytes = client.execute(("GET", name))
    _, payload = store.codec.open(record, keys.digest(key))
    session_store = THIS.session_store()
    wire = client._take()
    client._give_back(wire)
    command = ("GET", name)
    sent = wires.packed(command)
    return Side(
        {
            SESSION: lambda: session_store(key),
            NAME: lambda: store.keys.record(key),
            TAKE: client._take,
            PACK: lambda: wires.packed(command),
            SEND: lambda: wire._socket.sendall(sent),
            RECEIVE: wire._reply,
            GIVE_BACK: lambda: client._give_back(wire),
            OPEN: lambda: store.codec.open(record, keys.digest(key)),
            JSON: lambda: JSONSerializer().loads(payload),
            PERFORM: lambda: run(client, operations.known(record)),
        },
        {
            COMMAND: lambda: client.execute(("GET", name)),
            LOAD: lambda: session_store(key).load(),
        },
    )


def _redis_py(path: str, key: str) -> Side:
    name = _name(key)
    client = redis.Redis(unix_socket_path=path)
    client.get(name)
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    pool.release(connection)
    return Side(
        {
            TAKE: pool.get_connection,
            **_exchange(connection, name),
            GIVE_BACK: lambda: pool.release(connection),
        },
        {COMMAND: lambda: client.get(name)},
    )


def _raw(path: str, key: str) -> Side:
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(path)
    reader = hiredis.Reader()
    words = ("GET", _name(key))
    command = packed(words)

    def receive() -> object:
        reader.feed(connected.recv(65536))
        return reader.gets()

    def exchange() -> object:
        connected.sendall(packed(words))
        return receive()

    return Side(
        {
            PACK: lambda: packed(words),
            SEND: lambda: connected.sendall(command),
            RECEIVE: receive,
        },
        {COMMAND: exchange},
    )


def _exchange(connection: Any, name: str) -> dict[str, Part]:
    """One GET over a connection of redis-py's."""
    packed = connection.pack_command("GET", name)
    return {
        PACK: lambda: connection.pack_command("GET", name),
        SEND: lambda: connection.send_packed_command(packed, check_health=False),
        RECEIVE: connection.read_response,
    }


def _name(key: str) -> str:
    return conf.store().keys.record(key)


def _alone(part: Part) -> float:
    """Microseconds of one turn."""
    with undisturbed():
        start = perf_counter()
        for _ in repeat(None, TIMES):
            part()
        return (perf_counter() - start) / TIMES * 1e6


def _in_sequence(parts: Mapping[str, Part]) -> dict[str, float]:
    """Microseconds of each part."""
    spent = dict.fromkeys(parts, 0.0)
    with undisturbed():
        for _ in repeat(None, TIMES):
            before = perf_counter()
            for name, part in parts.items():
                part()
                now = perf_counter()
                spent[name] += now - before
                before = perf_counter()
    return {name: seconds / TIMES * 1e6 for name, seconds in spent.items()}
