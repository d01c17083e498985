"""``redis_sessions stats``: the stored sessions in figures."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import exposition, sessions
from django_redis_sessions.census import Census
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.management.arguments import duration, positive
from django_redis_sessions.management.output import (
    PATIENCE,
    in_bytes,
    note,
    plain,
    progress_bar,
    when,
    write_json,
)
from django_redis_sessions.sessions.contents import USUAL_SAMPLE

NAME = "stats"
HELP = "Count the stored sessions: whose, how large, how long they still live."
EPILOG = "Takes one round trip for every 500 keys of the database and changes nothing."

FORMATS = ("table", "json", "prometheus")
#: The server's counters of which --watch shows the change.
COUNTERS = ("commands", "evicted", "expired")

_BAR_WIDTH = 30
_CLEAR = "\x1b[H\x1b[J"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--sample", type=positive, metavar="N", help="stop after about N sessions")
    parser.add_argument(
        "--contents", action="store_true", help="read some sessions, and tell what takes the room in them"
    )
    parser.add_argument(
        "--watch",
        type=duration,
        nargs="?",
        const=5.0,
        metavar="TIME",
        help="look again and again, with a rest between, until Ctrl-C (default: 5s)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=FORMATS, default="table", help="what to write (default: table)")
    form.add_argument("--json", action="store_true", help="write one JSON document; sizes in bytes")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Look once, or again and again."""
    if options["json"]:
        options["format"] = "json"
    if options["format"] == "prometheus" and (options["contents"] or options["watch"] is not None):
        raise CommandError(
            "--format prometheus has neither --contents nor --watch: names in sessions are no labels."
        )
    if options["watch"] is None:
        _write(command, options, _look(command, options), None)
        return
    try:
        _watch(command, options)
    except KeyboardInterrupt:
        pass  # the usual end


def _watch(command: BaseCommand, options: dict[str, Any]) -> None:
    before: tuple[float, dict[str, Any]] | None = None
    while True:
        try:
            found = _look(command, options)
        except SessionStoreUnavailable as error:
            if before is None:
                raise
            note(command, str(error))
        else:
            now = monotonic()
            rates = None if before is None else _rates(before[1], found["server"], now - before[0])
            if options["format"] == "table" and command.stdout.isatty():
                command.stdout.write(_CLEAR, ending="")
            _write(command, options, found, rates)
            command.stdout.flush()
            before = (now, found["server"])
        sleep(options["watch"])


def _look(command: BaseCommand, options: dict[str, Any]) -> dict[str, Any]:
    with progress_bar(command, options, done="") as progress:
        statistics = sessions.statistics(options["sample"], progress, patience=PATIENCE)
        found = {**statistics.as_dict(), "_census": statistics.census}
        if options["contents"]:
            sample = options["sample"] or USUAL_SAMPLE
            found["contents"] = sessions.contents(sample, progress=progress, patience=PATIENCE).as_dict()
    return found


def _rates(before: dict[str, Any], now: dict[str, Any], seconds: float) -> dict[str, float]:
    """Changes a second; a server that was restarted counts from zero again."""
    return {name: round(max(0, now[name] - before[name]) / max(seconds, 0.001), 1) for name in COUNTERS}


def _write(
    command: BaseCommand, options: dict[str, Any], found: dict[str, Any], rates: dict[str, float] | None
) -> None:
    census: Census = found.pop("_census")
    if missing := found.get("missing_regions"):
        note(command, f"Without region {', '.join(missing)}, which cannot be reached.")
    if options["format"] == "prometheus":
        command.stdout.write(exposition.exposition(found))
    elif options["format"] == "table":
        for line in _table(found, census, rates):
            command.stdout.write(line)
    elif options["watch"] is None:
        write_json(command, found)
    else:
        time = datetime.now(UTC).replace(microsecond=0).isoformat()
        command.stdout.write(json.dumps({"time": time, **found, "per_second": rates}))


def _table(found: dict[str, Any], census: Census, rates: dict[str, float] | None) -> list[str]:
    server = found["server"]
    counted = f"{census.sessions:,}"
    if found["sampled"]:
        keys = found["keys_in_database"]
        counted += f" (a sample{'' if keys is None else f' of {keys:,} keys in the database'})"
    limit = in_bytes(server["maxmemory"]) if server["maxmemory"] else "no limit"
    masters = f", {server['masters']} masters" if server["masters"] > 1 else ""
    rows = [
        ("Sessions", counted),
        ("  logged in", f"{census.logged_in:,}"),
        ("  anonymous", f"{census.anonymous:,}"),
        *([("  unreadable", f"{census.unreadable:,}")] if census.unreadable else []),
        ("Record size", f"p50 {in_bytes(census.size_at(0.5))}, p95 {in_bytes(census.size_at(0.95))}, "
                        f"max {in_bytes(census.size_at(1.0))}"),
        ("Memory", f"{in_bytes(census.memory)}{_basis(census)}"),
        ("Server", f"{server['server']} {server['version']}{masters}"),
        ("  memory", f"{in_bytes(server['used_memory'])} of {limit}"),
        ("  eviction", f"{server['eviction_policy']}, {server['evicted']:,} keys evicted, "
                       f"{server['expired']:,} expired"),
        ("  replicas", _replicas(server["replication"])),
        ("  persistence", _persistence(server["persistence"])),
        *([("  per second", ", ".join(f"{rates[name]:,} {name}" for name in COUNTERS))] if rates else []),
    ]  # fmt: skip
    lines = [f"{name:<15}{value}" for name, value in rows]
    lines += ["", "Time to live", *_histogram(found["time_to_live"], census.sessions)]
    lines += ["", "Records", *_codecs(found["codecs"], census.sessions)] if found["codecs"] else []
    lines += ["", "Largest", *_largest(found["largest"])] if found["largest"] else []
    return [*lines, *_contents(found["contents"])] if "contents" in found else lines


def _basis(census: Census) -> str:
    """What the figure of memory rests on, unless each session was measured."""
    if census.measured == census.sessions:
        return ""
    return (
        f" (estimated from {census.measured:,} sessions)" if census.measured else " (the server does not say)"
    )


def _replicas(replication: dict[str, Any]) -> str:
    if not replication["replicas"]:
        return "none"
    lag = "" if replication["lag"] is None else f", heard {replication['lag']} s ago or later"
    return f"{replication['online']} of {replication['replicas']} online{lag}"


def _persistence(persistence: dict[str, Any]) -> str:
    if persistence["aof"] is None:
        return "the server does not say"
    saved = when(datetime.fromtimestamp(persistence["last_save"], UTC))
    failed = "" if persistence["ok"] else ", THE LAST WRITE HAS FAILED"
    changes = f"{persistence['changes_since_save']:,} changes since the snapshot of {saved}"
    return f"append-only file {'on' if persistence['aof'] else 'off'}, {changes}{failed}"


def _histogram(lives: dict[str, int], total: int) -> list[str]:
    longest = max(lives.values()) or 1
    return [
        f"  {label:<15}{count:>12,}  {count / (total or 1):>4.0%}  {'#' * round(count / longest * _BAR_WIDTH)}".rstrip()
        for label, count in lives.items()
    ]


def _codecs(codecs: list[dict[str, Any]], total: int) -> list[str]:
    return [
        f"  {codec['sessions']:>12,}  {codec['sessions'] / total:>4.0%}  format {codec['format']}, "
        f"serializer {codec['serializer']}, compression {codec['compression']}, "
        f"dictionary {codec['dictionary'] or 'none'}, protection {codec['protection']}"
        + (f", key {codec['key']}" if codec["key"] else "")
        for codec in codecs
    ]


def _largest(largest: list[dict[str, Any]]) -> list[str]:
    return [f"  {each['handle']}  {in_bytes(each['size']):>10}" for each in largest]


def _contents(contents: dict[str, Any]) -> list[str]:
    total = contents["bytes"] or 1
    head = f"Contents of {contents['sessions']:,} sessions, {in_bytes(contents['bytes'])} before compression"
    return [
        "",
        head,
        *[
            f"  {plain(each['name']):<30}{in_bytes(each['bytes']):>10}  {each['bytes'] / total:>4.0%}  "
            f"in {each['sessions']:,} sessions, {in_bytes(each['largest'])} at most"
            for each in contents["names"]
        ],
    ]
