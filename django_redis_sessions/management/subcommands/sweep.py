"""``redis_sessions sweep``: report the sessions whose time is up."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from time import sleep
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.management.arguments import duration
from django_redis_sessions.management.output import PATIENCE, say_what_goes_on

NAME = "sweep"
HELP = "Send the signal session_expired for every user's session whose time is up, at least once for each."
EPILOG = (
    "Runs until it is stopped, or once with --once, for cron. Any number of sweepers share the work. "
    "Nothing needs it but receivers of the signal: Redis forgets expired sessions itself."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--once", action="store_true", help="go through all users once, and stop")
    parser.add_argument(
        "--every",
        type=duration,
        default=60.0,
        metavar="TIME",
        help="rest between two passes, e.g. 5m (default: 60s)",
    )
    parser.add_argument("--json", action="store_true", help="write a JSON document for each session")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Go through all users, again and again."""

    def tell(user_id: str | None, name: str) -> None:
        if options["json"]:
            command.stdout.write(json.dumps({"user": user_id, "handle": name}))
        elif options["verbosity"] > 1:
            command.stdout.write(f"{name}  expired, of user {user_id}")

    if not options["once"]:
        say_what_goes_on(command, options, f"Looking for expired sessions every {options['every']:g} s.")
    while True:
        try:
            expired = sessions.sweep(tell, patience=PATIENCE)
        except SessionStoreUnavailable as error:
            # An outage passes; whoever runs this all the time should not have to start it again.
            if options["once"]:
                raise
            command.stderr.write(str(error))
        else:
            if options["verbosity"] > 0 and not options["json"] and (expired or options["once"]):
                command.stdout.write(f"{expired:,} {'session' if expired == 1 else 'sessions'} expired.")
            command.stdout.flush()
        if options["once"]:
            return
        sleep(options["every"])
