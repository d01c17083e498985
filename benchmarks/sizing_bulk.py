"""What do files, replicas and moves cost a server that is full of sessions?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter, sleep

from benchmarks.accounts import account, information
from benchmarks.plan import GB, LABELS
from benchmarks.report import Table, shown
from benchmarks.scale_filling import fill, session_key, typical_records
from benchmarks.sizing_servers import await_sync, connected, server
from benchmarks.traffic import RawConnection
from django_redis_sessions.keys import Keys
from tests.servers import RedisServer

CHILD = "a rewrite, seconds of CPU for each GB of data"
SENT = "a new replica, bytes sent for each byte of data"
SENDING = "a new replica, seconds of the primary's CPU for each GB"
RECEIVING = "a new replica, seconds of its own CPU for each GB"
MOVING = "moving 100,000 records to another node, seconds"
MOVING_CPU = "moving 100,000 records, seconds of the source's CPU"
HELD = "moving 100 records, milliseconds in which the source answers nobody"
SOURCES = {
    LABELS["resident"]: "`used_memory_rss` and `used_memory`",
    LABELS["connection"]: "`used_memory` with 200 connections that have each read a session",
    LABELS["snapshot"]: "`aof_base_size` after `BGREWRITEAOF`",
    LABELS["rewrite"]: "the clock, with saves going on meanwhile",
    CHILD: "`used_cpu_user_children`, `used_cpu_sys_children`",
    LABELS["copied"]: "`aof_last_cow_size`, and the saves counted meanwhile",
    LABELS["sync"]: "the clock, from the start of the process to `master_link_status:up`",
    SENT: "`total_net_repl_output_bytes`",
    SENDING: "`used_cpu_user`, `used_cpu_sys`, and those of its children",
    RECEIVING: "the same of the replica",
    LABELS["start"]: "the clock, from the start of the process to its first answer",
    MOVING: "the clock, `MIGRATE` with 100 keys at a time",
    MOVING_CPU: "`used_cpu_user`, `used_cpu_sys`",
    HELD: "`usec` and `calls` of `cmdstat_migrate`",
}
#: What a replica is asked to start from, and whether that is an append-only file.
RESTARTS = {
    "a replica that starts from its append-only file asks for": True,
    "a replica that starts from what `SHUTDOWN SAVE` wrote, without such a file, asks for": False,
}

Note = Callable[[str, float], None]


def measure(number: int, moved: int, repetitions: int, progress: Callable[[str], object]) -> Table:
    """A row for each figure of a server with so many sessions, of which some are moved to another one."""
    found: dict[str, list[float]] = {}
    said: dict[str, str] = {}

    def note(label: str, value: float) -> None:
        found.setdefault(label, []).append(value)

    for turn in range(repetitions):
        progress(f"a server with {number:,} sessions, {turn + 1} of {repetitions}")
        with ExitStack() as stack:
            primary = stack.enter_context(server(is_appending=True))
            connection = stack.enter_context(connected(primary))
            data = _filled(primary, connection, number)
            _connections(primary, connection, note)
            _rewrite(connection, data, number, note)
            for label, is_appending in RESTARTS.items():
                said[label] = _replica(primary, connection, data, note, is_appending=is_appending)
            _move(primary, connection, moved, note)
    rows = [[label, shown(median(values)), SOURCES[label]] for label, values in found.items()]
    rows += [[label, answer, "`sync_full` of its primary"] for label, answer in said.items()]
    return Table(
        "A server",
        f"`python -m benchmarks sizing` fills a server with {number:,} sessions, as `benchmarks.scale` does, "
        "writes a tenth of them again, and then does these things to it.\nA GB is 10^9 bytes of `used_memory`.\n"
        f"Medians of {repetitions}.",
        ["", "measured", "read from"],
        rows,
    )


def _filled(there: RedisServer, connection: RawConnection, number: int) -> float:
    """GB of data, after a tenth of it was written again."""
    before = int(information(connection)["used_memory"])
    records = typical_records(2000)
    fill(there.socket, Keys(), records, range(number))
    dice = random.Random(3)
    _write_again(connection, records, (dice.randrange(number) for _ in range(number // 10)))
    return (int(information(connection)["used_memory"]) - before) / GB


def _write_again(
    connection: RawConnection, records: Sequence[tuple[bytes, int]], numbers: Iterable[int]
) -> int:
    """Store other records for these sessions, a hundred in each round trip; how many."""
    keys, written = Keys(), 0
    batch: list[tuple[str | bytes | int, ...]] = []
    for number in numbers:
        record, ttl = records[(number + written + 1) % len(records)]
        batch.append(("SET", keys.record(session_key(number)), record, "EX", ttl))
        written += 1
        if len(batch) == 100:
            connection.pipeline(*batch)
            batch = []
    if batch:
        connection.pipeline(*batch)
    return written


def _connections(there: RedisServer, connection: RawConnection, note: Note) -> None:
    info = information(connection)
    note(LABELS["resident"], int(info["used_memory_rss"]) / int(info["used_memory"]))
    before = int(info["used_memory"])
    opened = [RawConnection(there.socket) for _ in range(200)]
    for each in opened:
        each.command("GET", Keys().record(session_key(1)))
    note(LABELS["connection"], (int(information(connection)["used_memory"]) - before) / len(opened))
    for each in opened:
        each.close()


def _rewrite(connection: RawConnection, data: float, number: int, note: Note) -> None:
    """Rewrite the append-only file while sessions are saved all over the memory."""
    records, dice = typical_records(2000), random.Random(4)
    before, start = account(connection), perf_counter()
    connection.command("BGREWRITEAOF")
    saves = 0
    while True:
        saves += _write_again(connection, records, (dice.randrange(number) for _ in range(20)))
        info = information(connection)
        if info["aof_rewrite_in_progress"] == "0" and info["aof_rewrite_scheduled"] == "0":
            break
        sleep(0.002)
    seconds = perf_counter() - start
    if info["aof_last_bgrewrite_status"] != "ok":
        raise RuntimeError("The append-only file was not rewritten.")
    note(LABELS["snapshot"], int(info["aof_base_size"]) / (data * GB))
    note(LABELS["rewrite"], seconds / data)
    note(CHILD, account(connection).since(before).children_cpu / data)
    note(LABELS["copied"], int(info["aof_last_cow_size"]) / saves)


def _replica(
    primary: RedisServer, connection: RawConnection, data: float, note: Note, *, is_appending: bool
) -> str:
    """Start a new replica, shut it down and start it again; what it asks for then."""
    before, sent = account(connection), _sent_to_replicas(connection)
    start = perf_counter()
    with server(is_appending=is_appending, primary=primary) as replica:
        await_sync(replica, primary)
        seconds = perf_counter() - start
        spent = account(connection).since(before)
        if is_appending:
            note(LABELS["sync"], seconds / data)
            note(SENDING, (spent.cpu + spent.children_cpu) / data)
            if sent is not None:
                note(SENT, ((_sent_to_replicas(connection) or 0) - sent) / (data * GB))
            with connected(replica) as follower:
                note(RECEIVING, account(follower).cpu / data)
                while information(follower)["aof_rewrite_in_progress"] == "1":
                    sleep(0.05)
        full = information(connection)["sync_full"]
        assert replica.process is not None
        with replica.client() as client:
            # The file has everything already; without one, it has to be written.
            client.shutdown(nosave=is_appending, save=not is_appending)
        replica.process.wait()
        start = perf_counter()
        replica.start()
        if is_appending:
            note(LABELS["start"], (perf_counter() - start) / data)
        await_sync(replica, primary)
    return "what it has missed" if information(connection)["sync_full"] == full else "everything"


def _move(source: RedisServer, connection: RawConnection, number: int, note: Note) -> None:
    """``MIGRATE`` some records to an empty server, as moving slots does."""
    with server() as target:
        names = [Keys().record(session_key(each)) for each in range(number)]
        before, start = account(connection), perf_counter()
        for at in range(0, number, 100):
            connection.command(
                "MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "KEYS", *names[at : at + 100]
            )
        seconds = perf_counter() - start
        spent = account(connection).since(before)
    calls = spent.commands["migrate"]
    note(MOVING, seconds / number * 100_000)
    note(MOVING_CPU, spent.cpu / number * 100_000)
    note(HELD, calls.us / calls.calls / 1e3)


def _sent_to_replicas(connection: RawConnection) -> int | None:
    found = information(connection).get("total_net_repl_output_bytes")
    return None if found is None else int(found)
