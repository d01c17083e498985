"""How do subcommands talk to the person at the terminal, or to the program behind a pipe?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.walks import Progress

_BAR_WIDTH = 24
#: For how many seconds in all a walk through all sessions waits for a connection that was lost on the way.
PATIENCE = 60.0


def write_json(command: BaseCommand, values: object) -> None:
    """One JSON document on standard output."""
    command.stdout.write(json.dumps(values, indent=2))


def confirm(command: BaseCommand, question: str) -> None:
    """Go on only after a typed yes; ``CommandError`` otherwise, also when there is nobody to ask."""
    _write_plainly(command, f"{question} [y/N] ")
    try:
        answer = input()
    except EOFError:
        raise CommandError("Nobody answered. Use --no-input to go on without asking.") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


@contextmanager
def progress_bar(
    command: BaseCommand, options: dict[str, Any], done: str
) -> Iterator[Callable[[Progress], object]]:
    """A bar on standard error while it is a terminal; ``done`` says what has happened to the ended ones."""
    if options["verbosity"] == 0 or not command.stderr.isatty():
        yield bool
        return

    def draw(progress: Progress) -> None:
        filled = round(progress.share * _BAR_WIDTH)
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        ended = f", {progress.ended:,} {done}" if done else ""
        _write_plainly(command, f"\r[{bar}] {progress.share:4.0%}  {progress.seen:,} seen{ended}")

    try:
        yield draw
    finally:
        _write_plainly(command, "\r" + " " * 78 + "\r")


def say_what_goes_on(command: BaseCommand, options: dict[str, Any], text: str) -> None:
    """A line for the person at a terminal who would otherwise look at nothing until Ctrl-C."""
    if options["verbosity"] > 0 and command.stderr.isatty():
        note(command, f"{text} Ctrl-C ends this.")


def note(command: BaseCommand, text: str) -> None:
    """A line on standard error that is no part of the result."""
    _write_plainly(command, f"{text}\n")


def _write_plainly(command: BaseCommand, text: str) -> None:
    """On standard error, which Django would paint red."""
    command.stderr.write(text, style_func=str, ending="")
    command.stderr.flush()


def plain(text: str) -> str:
    """What somebody else has written, without what a terminal would obey."""
    return text if text.isprintable() else ascii(text)


def when(moment: datetime) -> str:
    """A time for a person, on the clock of this machine."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def as_fields(info: SessionInfo, username: str | None) -> dict[str, Any]:
    """One session as plain values for JSON; times in UTC, size in bytes."""
    return {
        "handle": info.handle,
        "user": info.user_id,
        "username": username,
        "anonymous": info.is_anonymous,
        "readable": info.is_readable,
        "created": info.created.isoformat(),
        "last_seen": info.last_seen.isoformat(),
        "expires": info.expires.isoformat(),
        "size": info.size,
        "address": info.address,
        "user_agent": info.user_agent,
        **({"region": info.region} if info.region is not None else {}),
    }


def in_bytes(number: int) -> str:
    """``number`` bytes for a person: ``"344 B"``, ``"1.2 MB"``."""
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
