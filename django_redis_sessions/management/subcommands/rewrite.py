"""``redis_sessions rewrite``: protect every session as new ones are."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import PATIENCE, progress_bar, write_json

NAME = "rewrite"
HELP = "Protect every session as new ones are, after a change of ENCRYPTION_KEYS, SIGN or SECRET_KEY."
EPILOG = (
    "Changes neither what sessions hold nor how long they live, and signs nobody out; may be stopped and "
    "repeated at any time."
)

_WHY = "; `redis_sessions doctor` says why"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--rate", type=positive, metavar="N", help="look at no more than N sessions a second")
    parser.add_argument("--dry-run", action="store_true", help="count them, write none")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Write, report the numbers."""
    written = "would be rewritten" if options["dry_run"] else "rewritten"
    with progress_bar(command, options, done=written) as progress:
        done = sessions.rewrite(
            dry_run=options["dry_run"], rate=options["rate"], patience=PATIENCE, progress=progress
        )
    if options["json"]:
        write_json(command, {**done.as_dict(), "dry_run": options["dry_run"]})
    elif options["verbosity"] > 0:
        command.stdout.write(f"{done.found:,} {'session' if done.found == 1 else 'sessions'} found.")
        rows = [
            *((count, how) for how, count in done.by_key.most_common()),
            (done.rewritten, written),
            (done.current, "protected as new ones are already"),
            (done.unreadable, f"left as they were: unreadable{_WHY if done.unreadable else ''}"),
            (done.missed, "left as they were: saved by others each time; repeat the command"),
        ]
        for number, what in rows:
            command.stdout.write(f"{number:>12,}  {what}")
