"""``redis_sessions revoke``: end sessions for sure, one by one, a user's, or all."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_redis_sessions import sessions
from django_redis_sessions.announcements import LONGEST_REASON
from django_redis_sessions.keys import is_handle
from django_redis_sessions.management.output import PATIENCE, confirm, note, progress_bar, write_json
from django_redis_sessions.management.users import user_id_of

NAME = "revoke"
HELP = "End the sessions with these handles, all of one user, or all there are."
EPILOG = (
    "No request that is under way brings an ended session back, and WebSockets that watch are closed. "
    "To end sessions by kind, such as idle ones, use purge."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("handles", nargs="*", metavar="HANDLE", help="the public name of a session")
    parser.add_argument("--user", metavar="USER", help="all of the user with this primary key or username")
    parser.add_argument("--all", action="store_true", help="every session: this signs everybody out")
    parser.add_argument("--keep", metavar="HANDLE", help="but not this one; with --user or --all")
    parser.add_argument(
        "--reason", metavar="WORD", help="what receivers of the news are told (default: revoked)"
    )
    parser.add_argument("--dry-run", action="store_true", help="count them, end none")
    parser.add_argument("--no-input", "--noinput", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Ask, end, report the number."""
    _refuse_contradictions(options)
    dry_run = options["dry_run"]
    user_id = None if options["user"] is None else user_id_of(command, options["user"])
    if not dry_run and not options["no_input"]:
        confirm(command, f"This ends {_described(options, user_id)} for good. Go on?")
    if options["keep"] is not None and sessions.get(options["keep"]) is None:
        # It was meant to stay: whoever has mistyped it means none of the others either.
        raise CommandError("Nothing was done: what --keep names is no session, or not any more.")
    unknown: list[str] = []
    if options["handles"]:
        ended, unknown = _by_handle(options)
    elif user_id is not None:
        ended = _of_user(user_id, options)
    else:
        ended = _all(command, options)
    if options["json"]:
        done = {"ended": 0 if dry_run else ended, "matched": ended, "dry_run": dry_run}
        write_json(command, {**done, "unknown": unknown} if options["handles"] else done)
    elif options["verbosity"] > 0:
        noun = "session" if ended == 1 else "sessions"
        command.stdout.write(f"{ended:,} {noun} would be ended." if dry_run else f"{ended:,} {noun} ended.")
    for name in unknown if options["verbosity"] > 0 else ():
        note(command, f"{name} is no session, or not any more.")


def _refuse_contradictions(options: dict[str, Any]) -> None:
    if bool(options["handles"]) + (options["user"] is not None) + options["all"] != 1:
        raise CommandError("Say which sessions: handles, or --user, or --all.")
    if options["keep"] is not None and options["handles"]:
        raise CommandError("--keep belongs to --user or --all.")
    if options["reason"] is not None and options["all"]:
        raise CommandError("--all is announced once for all sessions, without a --reason.")
    if len(options["reason"] or "") > LONGEST_REASON:
        raise CommandError(f"A --reason has {LONGEST_REASON} characters at most.")
    for name in (*options["handles"], *([options["keep"]] if options["keep"] is not None else [])):
        if not is_handle(name):
            # Not repeated: it may be a session key.
            raise CommandError("One of these is no handle: those have 24 letters, digits, - and _.")


def _described(options: dict[str, Any], user_id: str | None) -> str:
    kept = " but one" if options["keep"] else ""
    if options["all"]:
        return f"EVERY session{kept} and signs everybody out"
    if user_id is not None:
        return f"all sessions{kept} of user {user_id}"
    count = len(options["handles"])
    return f"{count} {'session' if count == 1 else 'sessions'}"


def _by_handle(options: dict[str, Any]) -> tuple[int, list[str]]:
    names = list(dict.fromkeys(options["handles"]))
    if options["dry_run"]:
        unknown = [name for name in names if sessions.get(name) is None]
    else:
        reason = options["reason"] or "revoked"
        unknown = [name for name in names if not sessions.revoke(name, reason)]
    return len(names) - len(unknown), unknown


def _of_user(user_id: str, options: dict[str, Any]) -> int:
    if options["dry_run"]:
        return sum(info.handle != options["keep"] for info in sessions.of_user(user_id))
    return sessions.revoke_user(user_id, reason=options["reason"] or "revoked", keep_handle=options["keep"])


def _all(command: BaseCommand, options: dict[str, Any]) -> int:
    with progress_bar(command, options, done="would end" if options["dry_run"] else "ended") as progress:
        if not options["dry_run"]:
            return sessions.revoke_all(progress, keep_handle=options["keep"], patience=PATIENCE)
        found = sessions.purge(dry_run=True, progress=progress, patience=PATIENCE)
    return found - (options["keep"] is not None)
