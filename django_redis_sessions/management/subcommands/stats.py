"""``redis_sessions stats``: the stored sessions in figures."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.census import Census
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import PATIENCE, in_bytes, progress_bar, write_json

NAME = "stats"
HELP = "Count the stored sessions: whose, how large, how long they still live."
EPILOG = "Takes one round trip for every 500 keys of the database and changes nothing."

_BAR_WIDTH = 30


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--sample", type=positive, metavar="N", help="stop after about N sessions")
    parser.add_argument("--json", action="store_true", help="write one JSON document; sizes in bytes")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print a table, or JSON."""
    with progress_bar(command, options, done="") as progress:
        found = sessions.statistics(options["sample"], progress, patience=PATIENCE)
    if options["json"]:
        write_json(command, found.as_dict())
        return
    for line in _table(found):
        command.stdout.write(line)


def _table(found: sessions.Statistics) -> list[str]:
    census, server = found.census, found.server
    counted = f"{census.sessions:,}"
    if found.sampled:
        of_all = (
            "" if found.keys_in_database is None else f" of {found.keys_in_database:,} keys in the database"
        )
        counted += f" (a sample{of_all})"
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
        ("  eviction", server["eviction_policy"]),
    ]  # fmt: skip
    lines = [f"{name:<15}{value}" for name, value in rows]
    return [*lines, "", "Time to live", *_histogram(found.census.summary()["time_to_live"], census.sessions)]


def _basis(census: Census) -> str:
    """What the figure of memory rests on, unless each session was measured."""
    if census.measured == census.sessions:
        return ""
    return (
        f" (estimated from {census.measured:,} sessions)" if census.measured else " (the server does not say)"
    )


def _histogram(lives: dict[str, int], total: int) -> list[str]:
    longest = max(lives.values()) or 1
    return [
        f"  {label:<15}{count:>12,}  {count / (total or 1):>4.0%}  {'#' * round(count / longest * _BAR_WIDTH)}".rstrip()
        for label, count in lives.items()
    ]
