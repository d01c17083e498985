"""``redis_sessions show``: one session, with what it holds."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import devices, masking, sessions
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.keys import is_handle
from django_redis_sessions.management.output import as_fields, in_bytes, plain, when, write_json
from django_redis_sessions.management.users import usernames

NAME = "show"
HELP = "Show one session: whose it is, since when, from where, and its data with secrets masked."
EPILOG = "Changes nothing. What is kept under a harmless name is shown, also if it is confidential."


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("handle", metavar="HANDLE", help="the session's public name; no session key")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the facts and the data, or fail."""
    name = options["handle"]
    if not is_handle(name):
        # Not repeated: it may be a session key.
        raise CommandError("That is no handle: one has 24 letters, digits, - and _, as list shows them.")
    info, data = sessions.get(name), sessions.data(name)
    if info is None or data is None:
        raise CommandError(
            "There is no session with this handle; it may have ended, or moved to another key."
        )
    username = usernames(command, [info.user_id]).get(info.user_id or "")
    if options["json"]:
        write_json(command, {**as_fields(info, username), "data": masking.masked(data)})
        return
    for line in [*_facts(info, username), "", *_contents(info, data)]:
        command.stdout.write(line)


def _facts(info: SessionInfo, username: str | None) -> list[str]:
    whose = "nobody is signed in" if info.is_anonymous else plain(info.user_id or "?")
    rows = [
        ("Session", info.handle),
        ("  user", f"{whose} ({plain(username)})" if username else whose),
        ("  created", when(info.created)),
        ("  last seen", when(info.last_seen)),
        ("  expires", when(info.expires)),
        ("  size", in_bytes(info.size)),
        *([("  region", info.region)] if info.region else []),
        *([("  address", plain(info.address))] if info.address else []),
        *([("  device", str(devices.described(info.user_agent)))] if info.user_agent else []),
        *([("  user agent", plain(info.user_agent))] if info.user_agent else []),
    ]
    return [f"{name:<15}{value}" for name, value in rows]


def _contents(info: SessionInfo, data: dict[str, Any]) -> list[str]:
    if not info.is_readable:
        return [f"The data cannot be read: {plain(info.why_unreadable or '?')}."]
    lines = ["Data" if data else "No data."]
    for name, value in masking.entries(data.items()):
        first, *others = value.splitlines() or [""]
        lines += [f"  {plain(name)}: {plain(first)}", *(f"  {plain(line)}" for line in others)]
    return lines
