"""What does a rule say?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

DAY = 86400
SETTINGS, CONFIG, SHELL = "settings.py", "redis.conf", "shell"


class Severity(IntEnum):
    """How much a finding matters; the later, the worse."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """As people and JSON have it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, and the line to change, unless nothing has to be.

    ``id`` names the rule, ``message`` gives the reason. ``line`` is what to write in ``place``: in
    "settings.py", in "redis.conf" or in a "shell". ``where`` is the server or the region it is about, None for the
    site.
    ``is_known`` is False when it could not be looked at. Holds no password and no session key.
    """

    id: str
    severity: Severity
    message: str
    place: str | None = None
    line: str | None = None
    where: str | None = None
    is_known: bool = True

    @property
    def anchor(self) -> str:
        """Where the documentation explains it."""
        return f"docs/doctor.md#{self.id}"

    def at(self, where: str) -> Finding:
        """The same, about the server at this address, or a region."""
        return replace(self, where=where)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "id": self.id,
            "severity": self.severity.word,
            "message": self.message,
            "place": self.place,
            "line": self.line,
            "where": self.where,
            "known": self.is_known,
            "documentation": self.anchor,
        }


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst; OK if there is none."""
    return max((finding.severity for finding in findings), default=Severity.OK)


def together(by_region: Mapping[str | None, Sequence[Finding]]) -> list[Finding]:
    """The findings of all regions: what holds in each of them once, of the rest where that is."""
    shared = set.intersection(*map(set, by_region.values())) if by_region else set()
    return list(
        dict.fromkeys(
            finding if finding.where is not None or finding in shared else finding.at(f"region {region}")
            for region, findings in by_region.items()
            for finding in findings
        )
    )


def ok(id: str, message: str) -> Finding:  # noqa: A002 - as the field is called
    """All is well."""
    return Finding(id=id, severity=Severity.OK, message=message)


def unknown(id: str, what: str) -> Finding:  # noqa: A002 - as the field is called
    """It could not be looked at, which is no fault of the site: an ACL rule that forbids it is a good one."""
    return Finding(
        id=id,
        severity=Severity.NOTE,
        message=f"{what} could not be looked at: the server does not say it to this user.",
        is_known=False,
    )


def note(id: str, message: str, place: str | None = None, line: str | None = None) -> Finding:  # noqa: A002
    """Worth knowing."""
    return Finding(id=id, severity=Severity.NOTE, message=message, place=place, line=line)


def warning(id: str, message: str, place: str | None = None, line: str | None = None) -> Finding:  # noqa: A002
    """Should be changed."""
    return Finding(id=id, severity=Severity.WARNING, message=message, place=place, line=line)


def error(id: str, message: str, place: str | None = None, line: str | None = None) -> Finding:  # noqa: A002
    """People are, or will be, signed out by accident, or sessions are not safe."""
    return Finding(id=id, severity=Severity.ERROR, message=message, place=place, line=line)


def span(seconds: int, *, exact: bool = True) -> str:
    """A time for people: in the largest unit of which there are two or more, and that leaves nothing if ``exact``."""
    for unit, size in (("days", DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size and not (exact and seconds % size):
            return f"{seconds // size} {unit}"
    return f"{seconds:,} seconds"
