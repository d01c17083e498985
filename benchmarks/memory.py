"""How many bytes does a session take in Redis?

``MEMORY USAGE`` with every key that the session has put there, names and the server's own
book-keeping included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import THIS, WITHOUT_INDEX, Contender
from benchmarks.content import CONTENTS, length
from benchmarks.traffic import RawConnection
from benchmarks.workers import EngineWorker

MEASURED = ("login", "by number", "typical", "1 kB", "10 kB", "100 kB")


def measure(contenders: Sequence[Contender], path: str) -> dict[str, Any]:
    """``{content: {"json_bytes": …, "redis_bytes": {contender: …}}}``, on a server that nobody else uses."""
    connection = RawConnection(path)
    engines = [contender for contender in contenders if contender.engine and contender.is_on_redis]
    engines.append(WITHOUT_INDEX)
    try:
        return {
            name: {
                "json_bytes": length(CONTENTS[name]),
                "redis_bytes": {engine.name: _stored(engine, name, connection) for engine in engines},
            }
            for name in MEASURED
        }
    finally:
        connection.close()


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Ours / theirs, by contender, for one content."""
    stored = result["redis_bytes"]
    return {name: stored[THIS.name] / found for name, found in stored.items()}


def _stored(contender: Contender, content: str, connection: RawConnection) -> int:
    contender.turn_to()
    worker = EngineWorker(contender)
    before = set(connection.command("KEYS", "*"))
    key = worker.create(CONTENTS[content])
    mine = set(connection.command("KEYS", "*")) - before
    usage = sum(connection.command("MEMORY", "USAGE", name, "SAMPLES", "0") for name in mine)
    worker.delete(key)
    return int(usage)
