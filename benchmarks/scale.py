"""Do ten million sessions cost more than ten thousand, each?

``python -m benchmarks.scale`` starts servers of its own and fills them, one for each size; they are
gone afterwards. It needs about 300 bytes of memory for each session of all sizes together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import django
import redis

from benchmarks import scale_operations, scale_walks
from benchmarks.scale_filling import fill, typical_records
from benchmarks.scale_peers import NoRedisCli, RedisCli, find_redis_cli
from benchmarks.scale_server import OwnServer
from benchmarks.scale_walks import Walk
from django_redis_sessions.embedded import find_server
from django_redis_sessions.keys import Keys

KEYS = Keys()
_SIZES = "10000,100000,1000000,10000000"
_WALKED = 1_000_000
_REPETITIONS = 3


def arguments_of(command_line: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Cost per operation by number of sessions; stats and purge against redis-cli.",
    )
    parser.add_argument(
        "--sessions",
        type=lambda text: [int(size) for size in text.split(",")],
        default=_SIZES,
        metavar="N,N",
        help=f"numbers of sessions to compare (default: {_SIZES})",
    )
    parser.add_argument(
        "--walked",
        type=int,
        default=_WALKED,
        metavar="N",
        help=f"sessions for stats and purge (default: {_WALKED:,})",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    parser.add_argument(
        "--redis-cli", metavar="PATH", help="the redis-cli to compare with (default: that on PATH)"
    )
    return parser.parse_args(command_line)


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    server = find_server()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "django": django.get_version(),
        "redis-py": redis.__version__,
        "server": f"{Path(server.path).name} {'.'.join(map(str, server.version))}",
    }


def flatness(sizes: Sequence[int]) -> dict[str, Any]:
    """Memory, and time of each operation, by number of sessions."""
    records = typical_records()
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        settings = {}
        for size in sizes:
            server = running.enter_context(OwnServer())
            empty = server.used_memory
            started = perf_counter()
            fill(server.socket, KEYS, records, range(size))
            seconds = perf_counter() - started
            used = server.used_memory
            print(f"{size:>12,} sessions stored in {seconds:.1f} s", file=sys.stderr)
            settings[size] = scale_walks.settings_for(server.url)
            rows.append({"sessions": size, "used_memory": used, "bytes_per_session": (used - empty) / size})
        rounds = scale_operations.measured(settings)
    first = rounds[sizes[0]]
    for row in rows:
        here = rounds[row["sessions"]]
        row["microseconds"] = {name: median(here[name]) for name in scale_operations.OPERATIONS}
        row["ratio"] = {
            name: scale_operations.ratio(here[name], first[name]) for name in scale_operations.OPERATIONS
        }
    return {"sizes": rows}


def walks(size: int, cli_path: str | None) -> dict[str, Any]:
    """``stats`` and ``purge`` on so many sessions, in turn with redis-cli's ways to do the same."""
    records = typical_records()
    ours: dict[str, list[Walk]] = {name: [] for name in scale_walks.WALKS}
    peers: dict[str, list[float]] = {}
    with OwnServer() as server:
        cli = RedisCli(cli_path, server.socket, KEYS) if cli_path else None
        reading = {"SCAN": cli.scan, "SCAN, GETRANGE and TTL": cli.look} if cli else {}
        ending = {"SCAN and UNLINK": cli.unlink, "SCAN, xargs UNLINK": cli.unlink_with_xargs} if cli else {}
        peers = {name: [] for name in (*reading, *ending)}
        for number in range(_REPETITIONS):
            print(f"walks through {size:,} sessions, {number + 1} of {_REPETITIONS}", file=sys.stderr)
            refill(server, records, size)
            for name, peer in reading.items():
                peers[name].append(peer())
            for name in scale_walks.WALKS:
                refill(server, records, size)
                ours[name].append(scale_walks.measured(server, name))
            for name, peer in ending.items():
                refill(server, records, size)
                peers[name].append(peer())
    return {
        "sessions": size,
        "ours": {name: [asdict(walk) for walk in taken] for name, taken in ours.items()},
        "redis_cli": peers,
    }


def refill(server: OwnServer, records: Sequence[tuple[bytes, int]], size: int) -> None:
    """Make sure that so many sessions are stored."""
    if server.ask("DBSIZE") != size:
        server.ask("FLUSHALL")
        fill(server.socket, KEYS, records, range(size))


def growth(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """What ``stats`` adds to the memory of its process, by number of sessions."""
    rows = []
    with OwnServer() as server:
        done = 0
        for size in sizes:
            fill(server.socket, KEYS, typical_records(), range(done, size))
            done = size
            walk = scale_walks.measured(server, "stats")
            rows.append({"sessions": size, "peak_kb": walk.peak_kb, "growth_kb": walk.growth_kb})
    return rows


def flatness_table(found: dict[str, Any]) -> list[str]:
    """The table for people, as in the documentation."""
    rows = found["sizes"]
    lines = [
        "| sessions | " + " | ".join(f"{row['sessions']:,}" for row in rows) + " |",
        "|---|" + "--:|" * len(rows),
        "| memory of the server | "
        + " | ".join(f"{row['used_memory'] / 1e6:,.1f} MB" for row in rows)
        + " |",
        "| bytes for each session | " + " | ".join(f"{row['bytes_per_session']:.0f}" for row in rows) + " |",
    ]
    for name in scale_operations.OPERATIONS:
        cells = [f"{row['microseconds'][name]:.0f} µs, {row['ratio'][name]:.2f} ×" for row in rows]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def walks_table(found: dict[str, Any]) -> list[str]:
    """Two tables for people: whoever walks, and what our walks cost client and server."""
    size = found["sessions"]
    lines = ["| walk | seconds | sessions per second |", "|---|--:|--:|"]
    for name, taken in found["ours"].items():
        seconds = median(walk["seconds"] for walk in taken)
        lines.append(f"| `{name}` | {seconds:.2f} | {size / seconds:,.0f} |")
    for name, times in found["redis_cli"].items():
        lines.append(f"| redis-cli: {name} | {median(times):.2f} | {size / median(times):,.0f} |")
    lines += [
        "",
        "| walk | client CPU, µs a session | client's peak memory | longest command, quietest run | busiest run |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, taken in found["ours"].items():
        cpu = median(walk["cpu_seconds"] for walk in taken) / size * 1e6
        peak = max(walk["peak_kb"] for walk in taken) / 1000
        # Being interrupted only adds: the quietest run shows best how long a command takes by itself.
        quietest = min(taken, key=lambda walk: walk["longest_ms"])
        busiest = max(walk["longest_ms"] for walk in taken)
        longest = f"{quietest['longest_ms']:.1f} ms, {quietest['longest_command']} | {busiest:.1f} ms"
        lines.append(f"| `{name}` | {cpu:.1f} | {peak:.0f} MB | {longest} |")
    return lines


def growth_table(rows: list[dict[str, Any]]) -> list[str]:
    """The table for people."""
    return [
        "| sessions | " + " | ".join(f"{row['sessions']:,}" for row in rows) + " |",
        "|---|" + "--:|" * len(rows),
        "| peak memory of the process | "
        + " | ".join(f"{row['peak_kb'] / 1000:.1f} MB" for row in rows)
        + " |",
        "| of it, added by `stats` | "
        + " | ".join(f"{row['growth_kb'] / 1000:.1f} MB" for row in rows)
        + " |",
    ]


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure everything and print it."""
    options = arguments_of(command_line)
    sizes = sorted(options.sessions)
    scale_walks.configure("embedded://")
    try:
        cli_path = find_redis_cli(options.redis_cli)
    except NoRedisCli as reason:
        cli_path = None
        print(f"The comparison with redis-cli is left out: {reason}. See --redis-cli.", file=sys.stderr)
    result: dict[str, Any] = machine()
    show([", ".join(f"{name} {value}" for name, value in result.items())])
    result["walks"] = walks(options.walked, cli_path)
    show(walks_table(result["walks"]))
    result["growth"] = growth([size for size in sizes if size <= options.walked] or [options.walked])
    show(growth_table(result["growth"]))
    result["flatness"] = flatness(sizes)
    show(flatness_table(result["flatness"]))
    result["load_after"] = os.getloadavg()[0]
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2))


def show(lines: Sequence[str]) -> None:
    """Print them at once: the next part takes minutes."""
    print(*lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
