"""``manage.py redis_sessions <subcommand>``: the list of subcommands; each has a file of its own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.management.subcommands import purge, stats

SUBCOMMANDS = (stats, purge)


class Command(BaseCommand):
    """Parses, calls the subcommand, and turns the package's errors into Django's."""

    help = "Look at the sessions kept in Redis, and end them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Give every subcommand a parser of its own."""
        parsers = parser.add_subparsers(title="subcommands", dest="subcommand", required=True)
        for subcommand in SUBCOMMANDS:
            subparser = parsers.add_parser(
                subcommand.NAME, help=subcommand.HELP, description=subcommand.HELP, epilog=subcommand.EPILOG
            )
            subcommand.add_arguments(subparser)
            subparser.set_defaults(handle_subcommand=subcommand.handle)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the chosen subcommand."""
        try:
            options["handle_subcommand"](self, options)
        except SessionStoreError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was done so far stays done.", returncode=130) from None
