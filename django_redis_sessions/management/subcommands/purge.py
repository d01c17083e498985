"""``redis_sessions purge``: end sessions, by kind."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import regions, sessions
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.footing import Place
from django_redis_sessions.management.arguments import duration, positive
from django_redis_sessions.management.output import PATIENCE, confirm, note, progress_bar, write_json
from django_redis_sessions.walks import Progress

NAME = "purge"
HELP = "End all sessions that meet every given condition."
EPILOG = "Works in pages that never hold up the server; may be stopped and repeated at any time."


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    conditions = parser.add_argument_group("conditions")
    conditions.add_argument("--all", action="store_true", help="every session: this signs everybody out")
    whose = conditions.add_mutually_exclusive_group()
    whose.add_argument("--anonymous", action="store_true", help="sessions nobody is logged in to")
    whose.add_argument("--user", metavar="ID", help="sessions of the user with this primary key")
    conditions.add_argument(
        "--older-than", type=duration, metavar="AGE", help="since login or creation, e.g. 7d"
    )
    conditions.add_argument(
        "--idle", type=duration, metavar="AGE", help="life not extended for this long, e.g. 2d"
    )
    parser.add_argument(
        "--rate", type=positive, metavar="N", help="look at no more than N sessions in a second"
    )
    parser.add_argument(
        "--resume", type=_place, metavar="PLACE", help="go on where an earlier one was stopped"
    )
    parser.add_argument("--dry-run", action="store_true", help="count them, end none")
    parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Ask, end, report the number."""
    conditions = {name: options[name] for name in ("anonymous", "user", "older_than", "idle")}
    limited = options["anonymous"] or any(
        conditions[name] is not None for name in ("user", "older_than", "idle")
    )
    if options["all"] == bool(limited):
        raise CommandError("Say which sessions: either --all, or at least one of the other conditions.")
    dry_run = options["dry_run"]
    if not dry_run and not options["no_input"]:
        confirm(command, f"This ends {_described(options)} for good. Go on?")
    with progress_bar(command, options, done="would end" if dry_run else "ended") as draw:
        ended = _purge(command, options, conditions, draw)
    if options["json"]:
        write_json(command, {"ended": 0 if dry_run else ended, "matched": ended, "dry_run": dry_run})
    elif options["verbosity"] > 0:
        noun = "session" if ended == 1 else "sessions"
        command.stdout.write(f"{ended:,} {noun} would be ended." if dry_run else f"{ended:,} {noun} ended.")


def _purge(
    command: BaseCommand,
    options: dict[str, Any],
    conditions: dict[str, Any],
    draw: Callable[[Progress], object],
) -> int:
    resume = options["resume"]
    if resume is not None and len(regions.names()) > 1:
        raise CommandError("A place to go on from is in one region: say in which, with --region.")
    if resume is None and len(regions.names()) < 2:
        resume = ""
    reached = Progress(0, 0, 0.0, resume or "")

    def progress(now: Progress) -> None:
        nonlocal reached
        reached = now
        draw(now)

    try:
        return sessions.purge(
            **conditions,
            dry_run=options["dry_run"],
            progress=progress,
            rate=options["rate"],
            patience=PATIENCE,
            resume=resume,
        )
    except (KeyboardInterrupt, SessionStoreError):
        if reached.resume and not options["dry_run"]:
            note(command, f"\nTo go on from here, repeat the command with --resume {reached.resume}")
        raise


def _place(text: str) -> str:
    try:
        return str(Place.parsed(text))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not what an earlier purge has shown") from error


def _described(options: dict[str, Any]) -> str:
    if options["all"]:
        return "EVERY session and signs everybody out"
    given = [
        name for name in ("anonymous", "user", "older_than", "idle") if options[name] not in (None, False)
    ]
    named = [f"--{name.replace('_', '-')}" for name in given]
    return f"all sessions that meet {' and '.join(named)}"
