"""``redis_sessions import``: bring all sessions of another engine."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import PATIENCE, progress_bar, write_json

NAME = "import"
HELP = "Copy the live sessions of another engine here, so that nobody has to sign in again."
EPILOG = (
    "Never overwrites a session that is here, and never brings back one that has ended here. May be "
    "stopped and repeated at any time; what is there already is passed over quickly."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="ENGINE",
        help="the SESSION_ENGINE of before, e.g. django.contrib.sessions.backends.db",
    )
    parser.add_argument("--cache", metavar="ALIAS", help="the cache that django's cache engine used")
    parser.add_argument("--legacy-url", metavar="URL", help="where redis_sessions.session kept its sessions")
    parser.add_argument("--legacy-prefix", metavar="PREFIX", default="", help="the prefix it used, if any")
    add_common_arguments(parser)


def add_common_arguments(parser: ArgumentParser) -> None:
    """Define the options of both directions."""
    parser.add_argument("--rate", type=positive, metavar="N", help="look at no more than N sessions a second")
    parser.add_argument("--dry-run", action="store_true", help="count them, copy none")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Copy, report the numbers."""
    dry_run = options["dry_run"]
    with progress_bar(command, options, done="would be copied" if dry_run else "copied") as progress:
        moved = sessions.import_from(
            options["source"],
            **{name: options[name] for name in ("cache", "legacy_url", "legacy_prefix", "dry_run", "rate")},
            patience=PATIENCE,
            progress=progress,
        )
    report(command, options, moved)


def report(command: BaseCommand, options: dict[str, Any], moved: sessions.Moved) -> None:
    """The numbers, of either direction."""
    if options["json"]:
        write_json(command, {**moved.as_dict(), "dry_run": options["dry_run"]})
    elif options["verbosity"] > 0:
        copied = "would be copied" if options["dry_run"] else "copied"
        rows = [
            (moved.moved, copied),
            (moved.known, "passed over: there already, or ended since"),
            (moved.ended, "left out: signed out or revoked"),
            (moved.skipped, "left out: empty, unreadable or over"),
            *([(moved.too_large, "left out: larger than MAX_SIZE")] if moved.too_large else []),
        ]
        command.stdout.write(f"{moved.found:,} live {'session' if moved.found == 1 else 'sessions'} found.")
        for number, what in rows:
            command.stdout.write(f"{number:>12,}  {what}")
