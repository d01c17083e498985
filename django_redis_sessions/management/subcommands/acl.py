"""``redis_sessions acl``: the least rights that the site's Redis user needs."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.management.output import write_json

NAME = "acl"
HELP = "Print the ACL rules that permit what the settings need, and nothing else."
EPILOG = (
    "Speaks to no server: put a password in place of the word, and give the lines to redis-cli on each server. They "
    "change with the settings USER_INDEX, WAIT_REPLICAS, ANONYMOUS_BUDGET, FALLBACK_ENGINES, KEYS, PREFIX, URL and "
    "OPTIONS. Keep the user default out with `ACL SETUSER default off resetpass ~* &* +@all`: without rights of its "
    "own, a server with an append-only file would lose sessions when it starts."
)


def _name(text: str) -> str:
    if not re.fullmatch(r"[^\s\"'\\]+", text):
        raise ArgumentTypeError(f"{text!r} cannot be the name of a user")
    return text


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--user", type=_name, default="django", metavar="NAME", help="the user (default: %(default)s)"
    )
    parser.add_argument("--command", action="store_true", help="with the rights that this command needs")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="with the right to hear of ended sessions, for `watch` and sockets",
    )
    parser.add_argument("--silent", action="store_true", help="without the right to announce ended sessions")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print them."""
    rights = sessions.acl_rules(
        command=options["command"], announces=not options["silent"], listens=options["watch"]
    )
    rules = rights.rules(options["user"])
    if options["json"]:
        write_json(command, {"user": options["user"], **rights.as_dict(), "rules": rules})
    else:
        command.stdout.write("\n".join(rules))
