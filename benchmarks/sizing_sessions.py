"""How many bytes does a session take of a server that has very many of them?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

from benchmarks.accounts import information
from benchmarks.contenders import THIS
from benchmarks.content import ANONYMOUS, LOGIN, TYPICAL, Content, length, of_size
from benchmarks.direct_visits import DEVICE
from benchmarks.report import Table, shown
from benchmarks.sizing_servers import connected, server, sessions_on
from benchmarks.traffic import RawConnection
from django_redis_sessions import conf
from django_redis_sessions.devices import KEY as DEVICE_KEY
from tests.servers import RedisServer

RICH = of_size(1_000)
KINDS: dict[str, tuple[Content, dict[str, Any]]] = {
    "anonymous": (ANONYMOUS, {}),
    "sign-in": ({**LOGIN, DEVICE_KEY: DEVICE}, {}),
    "typical": ({**TYPICAL, DEVICE_KEY: DEVICE}, {}),
    "rich": ({**RICH, DEVICE_KEY: DEVICE}, {}),
    "typical, `USER_INDEX` off": ({**TYPICAL, DEVICE_KEY: DEVICE}, {"USER_INDEX": False}),
    "typical, `ENCRYPTION_KEYS`": ({**TYPICAL, DEVICE_KEY: DEVICE}, {"ENCRYPTION_KEYS": ["7" * 64]}),
}
#: So many sessions are asked for at a time.
_AT_A_TIME = 200
_SAMPLES = 500


def measure(number: int, progress: Callable[[str], object]) -> Table:
    """A row for each kind of session, so many of which are stored."""
    rows = []
    with server() as there:
        for kind, (content, options) in KINDS.items():
            if "ENCRYPTION_KEYS" in options and find_spec("cryptography") is None:
                progress(f"without cryptography, left out: {kind}")
                continue
            progress(f"{number:,} sessions: {kind}")
            record, index, whole = _stored(there, content, options, number)
            rows.append([kind, f"{length(content)}", shown(record), shown(index or None), shown(whole)])
    return Table(
        "A session in memory",
        f"Bytes.\n`python -m benchmarks sizing` stores {number:,} sessions of each kind through the "
        f"session store, each of another user, and reads `MEMORY USAGE` of {min(_SAMPLES, number)} of "
        "them, and the growth of `used_memory` in `INFO memory`.",
        ["", "as JSON", "record with its key", "index of its user", "all that the server took for it"],
        rows,
    )


def _stored(
    there: RedisServer, content: Content, options: dict[str, Any], number: int
) -> tuple[float, float, float]:
    """Bytes of a record, of an index, and of the server's memory, for each of so many sessions."""
    with connected(there) as connection, sessions_on(there, **options):
        # What a connection and the scripts take is no session's.
        asyncio.run(_create([content]))
        connection.command("FLUSHALL", "SYNC")
        before = int(information(connection)["used_memory"])
        asyncio.run(_create(_personal(content, each) for each in range(number)))
        grown = int(information(connection)["used_memory"]) - before
        keys = conf.store().keys
        record = _usage(connection, keys.records_pattern)
        index = _usage(connection, keys.indexes_pattern)
        connection.command("FLUSHALL", "SYNC")
    return record, index, grown / number


async def _create(contents: Iterable[Content]) -> None:
    store = THIS.session_store()
    remaining = iter(contents)

    async def create() -> None:
        for content in remaining:
            session = store()
            await session.aupdate(content)
            await session.acreate()

    await asyncio.gather(*(create() for _ in range(_AT_A_TIME)))


def _personal(content: Content, number: int) -> Content:
    """The same for another visitor."""
    if "_auth_user_id" not in content:
        return content
    digest = sha256(str(number).encode()).hexdigest()
    address = f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {
        **content,
        "_auth_user_id": str(100_000 + number),
        "_auth_user_hash": digest,
        DEVICE_KEY: {**DEVICE, "address": address},
    }


def _usage(connection: RawConnection, pattern: str) -> float:
    """The mean ``MEMORY USAGE`` of some keys that fit; 0 if none does."""
    cursor, names = b"0", []
    while len(names) < _SAMPLES:
        cursor, found = connection.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        names += found
        if cursor == b"0":
            break
    names = names[:_SAMPLES]
    sizes = [connection.command("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names]
    return sum(sizes) / len(sizes) if sizes else 0.0
