"""``redis_sessions watch``: who is signed out, as it happens."""

from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import revocations
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import note, plain, say_what_goes_on
from django_redis_sessions.revocations import (
    AllRevoked,
    Announcement,
    Interrupted,
    Resumed,
    Revoked,
    Rotated,
    UserRevoked,
)

NAME = "watch"
HELP = "Print a line whenever a session is ended or moves to another key, until Ctrl-C."
EPILOG = (
    "Shows what happens from now on, not what has happened; sessions that expire by themselves are not shown."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--user", metavar="ID", help="only what concerns the user with this primary key")
    parser.add_argument("--count", type=positive, metavar="N", help="stop after N lines")
    parser.add_argument("--json", action="store_true", help="write one JSON document a line")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print until stopped; to be stopped by hand is the usual end."""
    say_what_goes_on(command, options, "Waiting for sessions to end.")
    try:
        asyncio.run(_follow(command, options))
    except KeyboardInterrupt:
        pass


async def _follow(command: BaseCommand, options: dict[str, Any]) -> None:
    left = options["count"]
    async with aclosing(revocations.announcements()) as news:
        async for item in news:
            if isinstance(item, Interrupted):
                note(command, f"{item.error} Nothing is heard until the connection is back.")
            elif isinstance(item, Resumed):
                note(command, "The connection is back; what happened meanwhile was missed.")
            elif _concerns(item, options["user"]):
                command.stdout.write(_as_json(item) if options["json"] else _as_line(item))
                command.stdout.flush()
                if left is not None:
                    left -= 1
                    if not left:
                        return


def _concerns(announcement: Announcement, user_id: str | None) -> bool:
    return user_id is None or isinstance(announcement, AllRevoked) or announcement.user_id == user_id


def _as_json(announcement: Announcement) -> str:
    return json.dumps({"time": _now().isoformat(), **announcement.as_dict()})


def _as_line(announcement: Announcement) -> str:
    return f"{_now().astimezone():%Y-%m-%d %H:%M:%S}  {_described(announcement)}"


def _described(announcement: Announcement) -> str:
    match announcement:
        case Revoked(handle, user_id, reason):
            return f"ended    {handle}  {_whose(user_id)}  {plain(reason)}"
        case Rotated(old_handle, handle, user_id):
            return f"moved    {old_handle}  {_whose(user_id)}  to {handle}"
        case UserRevoked(user_id):
            return f"ended    all sessions of {_whose(user_id)}"
        case _:
            return "ended    all sessions"


def _whose(user_id: str | None) -> str:
    return "anonymous" if user_id is None else f"user {plain(user_id)}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
