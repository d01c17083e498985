"""Which Lua scripts does this package run in Redis?

One file each, under a header that names KEYS, ARGV, reply and units. Every script touches keys of
one session in one slot, except ``cycle``, which is for servers without slots.
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


def _script(name: str) -> Script:
    text = files(__package__).joinpath(f"{name}.lua").read_bytes()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest())


SAVE = _script("save")
CYCLE = _script("cycle")
TAKE = _script("take")
