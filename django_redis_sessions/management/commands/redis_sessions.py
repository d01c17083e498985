"""``manage.py redis_sessions <subcommand>``: the list of subcommands; each has a file of its own."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_redis_sessions import regions
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.keys import is_handle
from django_redis_sessions.management.subcommands import (
    acl,
    doctor,
    exporting,
    importing,
    list_sessions,
    purge,
    reindex,
    revoke,
    rewrite,
    show,
    stats,
    sweep,
    train_dictionary,
    watch,
)

SUBCOMMANDS = (
    stats,
    list_sessions,
    show,
    revoke,
    purge,
    sweep,
    reindex,
    rewrite,
    importing,
    exporting,
    train_dictionary,
    watch,
    doctor,
    acl,
)

_SWITCH = {"action": "store_true"}
_DJANGOS_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-v", "--verbosity"), {"type": int, "choices": range(4)}),
    (("--settings",), {}),
    (("--pythonpath",), {}),
    (("--traceback",), _SWITCH),
    (("--no-color",), _SWITCH),
    (("--force-color",), _SWITCH),
    (("--skip-checks",), _SWITCH),
)


class _Parser(CommandParser):
    """Knows a handle from an option, though one in sixty begins with a hyphen as well."""

    def _parse_optional(self, arg_string: str) -> Any:
        return None if is_handle(arg_string) else super()._parse_optional(arg_string)


class Command(BaseCommand):
    """Parses, calls the subcommand, and turns the package's errors into Django's."""

    help = "Look at the sessions kept in Redis and at what keeps them, end them, and learn to store them smaller."

    def add_arguments(self, parser: CommandParser) -> None:
        """Give every subcommand a parser of its own."""
        parsers = parser.add_subparsers(
            title="subcommands", dest="subcommand", required=True, parser_class=_Parser
        )
        for subcommand in SUBCOMMANDS:
            subparser = parsers.add_parser(
                subcommand.NAME, help=subcommand.HELP, description=subcommand.HELP, epilog=subcommand.EPILOG
            )
            subcommand.add_arguments(subparser)
            subparser.add_argument("--region", metavar="NAME", help="in this one alone of the REGIONS")
            # Where most people write Django's own options: behind the subcommand.
            for flags, kind in _DJANGOS_OPTIONS:
                subparser.add_argument(*flags, default=SUPPRESS, help=SUPPRESS, **kind)
            subparser.set_defaults(handle_subcommand=subcommand.handle)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the chosen subcommand."""
        try:
            with regions.using(options["region"]):
                options["handle_subcommand"](self, options)
            self.stdout.flush()
        except BrokenPipeError:
            # Whoever read has seen enough (`… | head`); Python would complain once more when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except SessionStoreError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was done so far stays done.", returncode=130) from None
