"""Which Lua scripts does this package run in Redis?

One file each, under a header that names KEYS, ARGV, reply and units. Every script touches keys of
one session in one slot, except ``cycle``, ``save`` and ``take`` where they are given an index, and ``leave`` where
it is given an address: those are for servers without slots. ``admit`` and ``forget`` are no scripts but functions
in front of those that need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the name under which a server remembers it."""

    text: bytes
    digest: str


def _script(*parts: str) -> Script:
    text = b"".join(files(__package__).joinpath(f"{part}.lua").read_bytes() for part in parts)
    return Script(text, sha1(text, usedforsecurity=False).hexdigest())


SAVE = _script("admit", "save")
CYCLE = _script("admit", "cycle")
ADMIT = _script("admit", "admitted")
END = _script("end")
ADOPT = _script("admit", "adopt")
TAKE = _script("forget", "take")
LEAVE = _script("leave")
FORGET = _script("forget", "forgotten")
REVOKE = _script("revoke")
CLAIM = _script("claim")
REWRITE = _script("rewrite")
BEGIN = _script("begin")
