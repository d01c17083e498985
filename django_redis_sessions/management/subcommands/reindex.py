"""``redis_sessions reindex``: note every session in its user's index."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.management.output import PATIENCE, progress_bar, write_json

NAME = "reindex"
HELP = "Note every stored session in its user's index."
EPILOG = (
    "Once, after USER_INDEX was turned on: sessions are noted when they are written, and those that were "
    "written before are not. Changes no session; may be stopped and repeated at any time."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Go through all sessions, report the number of those that have a user."""
    with progress_bar(command, options, done="noted") as progress:
        noted = sessions.reindex(progress, patience=PATIENCE)
    if options["json"]:
        write_json(command, {"noted": noted})
    elif options["verbosity"] > 0:
        command.stdout.write(f"{noted:,} {'session' if noted == 1 else 'sessions'} noted.")
