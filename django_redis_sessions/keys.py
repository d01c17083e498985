"""Which names does this package use in Redis?

======================================  ========  ==============================  ==============================
Redis key                               type      content                         lifetime
======================================  ========  ==============================  ==============================
``<prefix>:r:<digest of session key>``  string    the session's record            what is left of the session
``<prefix>:f:<digest of session key>``  string    where the session has moved to  10 seconds after a rotation
======================================  ========  ==============================  ==============================

With ``KEYS: "plain"`` the session key itself stands in place of its digest. The letter keeps
kinds of keys apart, so that no cookie, whatever it says, can name a key of another kind.

A session that moves to a new key because SECRET_KEY was rotated leaves a forwarding address: the
new session key, masked by the old one, so that nobody can read it who does not have the old cookie.

The digest is the first 24 characters of the URL-safe base64 of SHA-256 (144 bits): it finds the
record, but nobody can make the cookie from it. It doubles as the session's public *handle*, the
only name of a session that logs, errors and commands show.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256, shake_256

#: How ``SESSION_REDIS["KEYS"]`` may be spelt.
SCHEMES = ("hashed", "plain")

_PLAUSIBLE = re.compile(r"[0-9A-Za-z_-]{8,128}", re.ASCII).fullmatch
_MARKER_LENGTH = 9
# What base64.urlsafe_b64encode() does, with fewer calls: every load needs a digest.
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def is_plausible(session_key: str | None) -> bool:
    """Whether some engine could have made this session key: 8 to 128 letters, digits, ``-`` and ``_``.

    What a cookie says is anybody's text. Anything else is an unknown session and costs no round trip.
    """
    return session_key is not None and _PLAUSIBLE(session_key) is not None


def digest(session_key: str) -> str:
    """24 characters that stand for ``session_key`` and do not give it away."""
    short = sha256(session_key.encode()).digest()[:18]
    return b2a_base64(short, newline=False).translate(_URL_SAFE).decode()


@lru_cache(4096)
def user_marker(user_id: str) -> bytes:
    """9 bytes that stand for a user in record headers, equal for equal ids.

    Not a secret: whoever can guess an id can compute its marker.
    """
    return sha256(b"user:" + user_id.encode()).digest()[:_MARKER_LENGTH]


def forwarding_address(old: str, new: str) -> bytes:
    """What leads from the session key ``old`` to ``new``, and nobody who has neither."""
    mask = shake_256(b"forwarding:" + old.encode()).digest(len(new))
    return bytes(a ^ b for a, b in zip(new.encode(), mask, strict=True))


def forwarded(old: str, address: bytes) -> str | None:
    """The session key that ``address`` leads to from ``old``; None if it leads to none."""
    mask = shake_256(b"forwarding:" + old.encode()).digest(len(address))
    new = bytes(a ^ b for a, b in zip(address, mask, strict=True)).decode("ascii", "replace")
    return new if is_plausible(new) else None


@dataclass(frozen=True, slots=True)
class Keys:
    """Names every key of one deployment, and parses them back."""

    prefix: str = "session"
    scheme: str = "hashed"

    def record(self, session_key: str) -> str:
        """The Redis key of a session's record; ``session_key`` must be plausible."""
        return f"{self.prefix}:r:{self._name(session_key)}"

    def forwarding(self, session_key: str) -> str:
        """The Redis key of the address that a session has left behind; ``session_key`` must be plausible."""
        return f"{self.prefix}:f:{self._name(session_key)}"

    @property
    def records_pattern(self) -> str:
        """A SCAN pattern that all records match, and no key of another kind or prefix."""
        return f"{_escaped(self.prefix)}:r:*"

    def handle(self, record_key: bytes) -> str:
        """The public handle of the session whose record has this Redis key."""
        name = record_key[len(self.prefix.encode()) + 3 :].decode(errors="replace")
        return name if self.scheme == "hashed" else digest(name)

    def _name(self, session_key: str) -> str:
        return digest(session_key) if self.scheme == "hashed" else session_key


# Redis reads these as wildcards (https://redis.io/docs/latest/commands/keys/).
_WILDCARDS = re.compile(r"[\\*?\[\]^]")


def _escaped(text: str) -> str:
    return _WILDCARDS.sub(lambda found: "\\" + found[0], text)
