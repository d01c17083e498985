"""``redis_sessions list``: which sessions there are, one by one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import devices, regions, sessions
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import (
    PATIENCE,
    as_fields,
    in_bytes,
    note,
    plain,
    progress_bar,
    when,
    write_json,
)
from django_redis_sessions.management.users import user_id_of, usernames
from django_redis_sessions.sessions import ORDERS, Page

NAME = "list"
HELP = "List sessions: their handles, whose they are, since when, from which device."
EPILOG = (
    "In the order in which Redis keeps them, which is none, unless --sort is given: then all are looked at, "
    "and no more than a page is kept in memory. Changes nothing."
)

USUAL_LIMIT = 50


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--user", metavar="USER", help="of the user with this primary key or username")
    whose.add_argument("--anonymous", action="store_true", help="nobody is logged in to")
    whose.add_argument("--logged-in", action="store_true", help="somebody is logged in to")
    parser.add_argument("--sort", choices=ORDERS, help="the longest idle, the largest or the newest first")
    parser.add_argument(
        "--limit",
        type=positive,
        default=USUAL_LIMIT,
        metavar="N",
        help=f"how many to list (default: {USUAL_LIMIT})",
    )
    parser.add_argument("--cursor", metavar="CURSOR", help="go on where an earlier list has stopped")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print a table, or JSON."""
    page = _page(command, options)
    names = usernames(command, (info.user_id for info in page.infos))
    if options["json"]:
        listed = [as_fields(info, names.get(info.user_id or "")) for info in page.infos]
        missing = {"missing_regions": [*page.missing]} if regions.names() else {}
        write_json(command, {"sessions": listed, "next": page.next, **missing})
        return
    for line in _table(page.infos, names):
        command.stdout.write(line)
    if page.missing and options["verbosity"] > 0:
        note(command, f"Without region {', '.join(page.missing)}, which cannot be reached.")
    if page.next is not None and options["verbosity"] > 0:
        note(command, f"There may be more: --cursor {page.next}")


def _page(command: BaseCommand, options: dict[str, Any]) -> Page:
    anonymous = True if options["anonymous"] else False if options["logged_in"] else None
    cursor, limit = options["cursor"], options["limit"]
    user = None if options["user"] is None else user_id_of(command, options["user"])
    if options["sort"] is None and user is None:
        if cursor is not None and not sessions.is_cursor(cursor):
            raise CommandError("The cursor is not one that a list without --sort and --user has shown.")
        return sessions.page(cursor, anonymous=anonymous, limit=limit, looks=None, patience=PATIENCE)
    with progress_bar(command, options, done="") as progress:
        try:
            return sessions.ranked(
                options["sort"] or "created",
                limit,
                anonymous=anonymous,
                user=user,
                cursor=cursor,
                progress=progress,
                patience=PATIENCE,
            )
        except ValueError as error:
            raise CommandError(f"No page begins there: {error}.") from error


def _table(infos: list[SessionInfo], names: dict[str, str]) -> list[str]:
    if not infos:
        return ["No sessions."]
    is_regional = any(info.region for info in infos)
    rows = [
        (
            "HANDLE",
            *(["REGION"] if is_regional else []),
            "USER",
            "CREATED",
            "LAST SEEN",
            "EXPIRES",
            "SIZE",
            "DEVICE",
        )
    ]
    rows += [
        (
            info.handle,
            *([info.region or ""] if is_regional else []),
            _whose(info, names),
            when(info.created),
            when(info.last_seen),
            when(info.expires),
            in_bytes(info.size),
            str(devices.described(info.user_agent)) if info.user_agent else "",
        )
        for info in infos
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _whose(info: SessionInfo, names: dict[str, str]) -> str:
    if not info.is_readable:
        return "unreadable"
    if info.user_id is None:
        return "anonymous" if info.is_anonymous else "?"
    return plain(names.get(info.user_id, info.user_id))
