"""Until when is a release of the server looked after by those who make it?"""

from __future__ import annotations

from datetime import date

#: The day on which the table was last compared with its sources, which the page "doctor" names.
AS_OF = date(2026, 2, 24)

#: The last day of security fixes by product and release; None: none is announced.
ENDS: dict[tuple[str, str], date | None] = {
    ("redis", "5.0"): date(2022, 4, 27),
    ("redis", "6.0"): date(2022, 5, 31),
    ("redis", "6.2"): None,
    ("redis", "7.0"): date(2024, 7, 29),
    ("redis", "7.2"): None,
    ("redis", "7.4"): None,
    ("redis", "8.0"): date(2026, 2, 11),
    ("redis", "8.2"): None,
    ("redis", "8.4"): None,
    ("redis", "8.6"): None,
    ("valkey", "7.2"): date(2029, 4, 16),
    ("valkey", "8.0"): date(2027, 9, 15),
    ("valkey", "8.1"): date(2030, 3, 31),
    ("valkey", "9.0"): date(2028, 10, 21),
}
#: What this package needs; older servers do not know all its commands.
OLDEST = {"redis": (6, 2), "valkey": (7, 2)}


def release_of(version: str) -> str:
    """``"7.4"`` of ``"7.4.8"``."""
    return ".".join(version.split(".")[:2])


def numbers_of(version: str) -> tuple[int, ...]:
    """A release as numbers that can be compared; empty for what is no version."""
    parts = release_of(version).split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
