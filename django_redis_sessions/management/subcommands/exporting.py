"""``redis_sessions export``: copy all sessions to another engine."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.management.output import PATIENCE, progress_bar
from django_redis_sessions.management.subcommands.importing import add_common_arguments, report

NAME = "export"
HELP = "Copy the sessions to another engine, by the rules of import; for KEYS: 'plain' only."
EPILOG = (
    "With hashed keys nobody can list the session keys; there, SESSION_ENGINE = "
    "'django_redis_sessions.leaving.db' brings each session along when its visitor comes."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--to",
        dest="target",
        required=True,
        metavar="ENGINE",
        help="the SESSION_ENGINE of afterwards, e.g. django.contrib.sessions.backends.db",
    )
    parser.add_argument("--cache", metavar="ALIAS", help="the cache that django's cache engine will use")
    add_common_arguments(parser)


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Copy, report the numbers."""
    done = "would be copied" if options["dry_run"] else "copied"
    with progress_bar(command, options, done=done) as progress:
        moved = sessions.export_to(
            options["target"],
            **{name: options[name] for name in ("cache", "dry_run", "rate")},
            patience=PATIENCE,
            progress=progress,
        )
    report(command, options, moved)
