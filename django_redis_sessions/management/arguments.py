"""Which kinds of values do subcommands take on the command line?"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)", re.ASCII)


def duration(text: str) -> float:
    """Seconds in ``"90"``, ``"90s"``, ``"15m"``, ``"12h"``, ``"7d"`` or ``"2w"``."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise ArgumentTypeError(f"{text!r} is no duration; write for example 90s, 15m, 12h, 7d or 2w")
    return float(found[1]) * _UNITS[found[2] or "s"]


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no whole number above zero")
    return int(text)
