"""Which dictionary files does a project name, and can they be used?

Reads what ``SESSION_REDIS["COMPRESSION"]`` names, once, when the settings are read. ``problems()``
are what the system check reports and ``codec()`` raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from django_redis_sessions import dictionaries
from django_redis_sessions.configuration import COMPRESSIONS, SETTING, Problem, refuse
from django_redis_sessions.dictionaries import Dictionary
from django_redis_sessions.records import LARGEST_PAYLOAD, Codec

_HINT = (
    "It has to be deployed with the project: sessions that were compressed with it cannot be read without it."
)


def codec(
    compression: str | tuple[str | None, ...] | None, directory: str, largest_payload: int = LARGEST_PAYLOAD
) -> Codec:
    """What the setting amounts to; ``SessionStoreMisconfigured`` when a file cannot be used."""
    found = _Files(directory)
    found.read(compression)
    refuse(found.problems)
    first = compression[0] if isinstance(compression, tuple) else compression
    return Codec(
        found.by_name.get(first, first), tuple(found.by_number.values()), largest_payload=largest_payload
    )


def problems(compression: str | tuple[str | None, ...] | None, directory: str) -> list[Problem]:
    """All that is wrong with the files that the setting names, relative to ``directory``."""
    found = _Files(directory)
    found.read(compression)
    return found.problems


@dataclass(slots=True)
class _Files:
    """The files that were read so far, and what was wrong with them."""

    directory: str
    by_name: dict[str | None, Dictionary] = field(default_factory=dict)
    by_number: dict[int, Dictionary] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def read(self, compression: str | tuple[str | None, ...] | None) -> None:
        for name in _paths(compression):
            try:
                with open(os.path.join(self.directory, name), "rb") as file:
                    dictionary = dictionaries.parsed(file.read())
            except OSError as error:
                self._refuse(name, f"which cannot be read: {error.strerror}")
            except ValueError as error:
                self._refuse(name, f"which cannot be used: {error}")
            else:
                if self.by_number.setdefault(dictionary.number, dictionary) != dictionary:
                    self._refuse(name, f"but another file there has number {dictionary.number} too")
                self.by_name[name] = dictionary

    def _refuse(self, name: str, reason: str) -> None:
        path = os.path.join(self.directory, name)
        self.problems.append(Problem("E004", f"{SETTING}['COMPRESSION'] names {path}, {reason}.", _HINT))


def _paths(compression: str | tuple[str | None, ...] | None) -> Iterator[str]:
    if isinstance(compression, tuple):
        for name in compression:
            if name is not None and name not in COMPRESSIONS:
                yield name
