"""``redis_sessions doctor``: what is wrong with how this site keeps its sessions."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from django_redis_sessions import sessions
from django_redis_sessions.diagnosis import worst
from django_redis_sessions.management.arguments import positive
from django_redis_sessions.management.output import write_json
from django_redis_sessions.sessions import Finding, Severity
from django_redis_sessions.sessions.diagnosing import USUAL_SAMPLE

NAME = "doctor"
HELP = "Say what is wrong with the settings, the servers and the sessions, and which line to change."
EPILOG = (
    "Connects as the site does and changes nothing. Ends with exit code 3 if there is an error, or, with "
    "--fail-on, something less."
)

#: The exit code when there is something to change, unlike 1: it could not be done.
UNWELL = 3
_LEVELS = [severity.word for severity in reversed(Severity) if severity is not Severity.OK]


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--sample",
        type=positive,
        default=USUAL_SAMPLE,
        metavar="N",
        help="sessions to look at (default: %(default)s)",
    )
    parser.add_argument(
        "--fail-on",
        choices=_LEVELS,
        default="error",
        help="what makes the exit code 3 (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON document")


def handle(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the findings, the worst first; the exit code tells a program."""
    found = sorted(sessions.diagnose(options["sample"]), key=lambda finding: -finding.severity)
    if options["json"]:
        write_json(
            command,
            {"worst": worst(found).word, "findings": [finding.as_dict() for finding in found]},
        )
    else:
        for finding in found:
            # With --verbosity 0, only what has to be changed.
            if finding.severity > Severity.OK or options["verbosity"] > 0:
                command.stdout.write(_shown(command, finding))
        if options["verbosity"] > 0:
            command.stdout.write(_summary(found))
    command.stdout.flush()
    if worst(found) >= Severity[options["fail_on"].upper()]:
        sys.exit(UNWELL)


def _shown(command: BaseCommand, finding: Finding) -> str:
    paint = {Severity.ERROR: command.style.ERROR, Severity.WARNING: command.style.WARNING}
    word = paint.get(finding.severity, str)(f"{finding.severity.word:<8}")
    where = f"{finding.where}: " if finding.where else ""
    lines = [f"{word} {finding.id}: {where}{finding.message}"]
    if finding.line is not None:
        lines.append(f"         {finding.place}: {finding.line}")
    return "\n".join(lines)


def _summary(found: list[Finding]) -> str:
    counts = [
        f"{number} {severity.word}{'s' if number > 1 and severity is not Severity.OK else ''}"
        for severity in reversed(Severity)
        if (number := sum(finding.severity is severity for finding in found))
    ]
    return f"\n{', '.join(counts)}. docs/doctor.md explains each."
