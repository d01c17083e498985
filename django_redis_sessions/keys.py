"""Which names does this package use in Redis?

======================================  ==========  ==============================  ===============================
Redis key                               type        content                         lifetime
======================================  ==========  ==============================  ===============================
``<prefix>:r:<digest of session key>``  string      the session's record            what is left of the session
``<prefix>:f:<digest of session key>``  string      where the session has moved to  10 seconds, or as the session
``<prefix>:m:{<key of the record>}``    string      the digest it has moved to      60 seconds after a rotation
``<prefix>:u:<user marker>``            sorted set  the sessions of one user        as its youngest session, 1 h more
``<prefix>:x:<digest of session key>``  string      it has moved here, or elsewhere  as that session, 1 day more
``<prefix>:a``                          string      when the last one moved here    400 days
``<prefix>:b:<digest of a network>``    string      when it has its whole budget    until then, 1 day at most
======================================  ==========  ==============================  ===============================

With ``KEYS: "plain"`` the session key itself stands in place of its digest, except in ``f``, and in ``m``
on a single server; ``schemes`` has the choices. The letter keeps kinds of keys apart, so that no cookie,
whatever it says, can name a key of another kind.

Not a key but a pub/sub channel, ``<prefix>:revocations`` carries a message for every session that is
ended or moved; ``announcements`` has the wording. Redis keeps nothing of what it hands on there.

A session that has come from another engine, or has ended while one may still hold it, leaves a mark,
so that it comes once and never again: 8 bytes that stand for its data as it came, nothing if it ended
before, or ``>`` when it has gone to another engine. On a cluster
the record's Redis key stands in braces in place of the digest, so that both are on one server.

The last kind is there only with ``ANONYMOUS_BUDGET``: the network is an IPv4 address or 64 bits of an
IPv6 address, and its digest keeps it out of lists of keys, though not from whoever tries all of IPv4.

A session that moves to a new key because SECRET_KEY was rotated, to another scheme of keys or to another
region leaves a forwarding address: the new session key, masked by the old one, so that nobody can read it
who does not have the old cookie. From a cluster to another region, its new name stays as long as that address.

The digest is the first 24 characters of the URL-safe base64 of SHA-256 (144 bits): it finds the
record, but nobody can make the cookie from it. It doubles as the session's public *handle*, the
only name of a session that logs, errors and commands show.

A user's index has a member for each session, scored with the second in which it is surely over
(``expiry.index_score``), and up to four of other kinds, told apart by their first characters, which no
digest and no session key can have:

- ``=<user id>``, score 0: whose index it is, which its name does not say;
- ``!``, scored with microseconds since 1970: the user's sessions were revoked then, and no request
  that had begun before may add one;
- ``!!``, scored in the same way: that revocation has come to its end, and who is still here was kept;
- ``~<digest>``: a session that is being revoked, until its record is gone.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import TypeGuard

from django_redis_sessions.schemes import HASHED, SCHEMES, Scheme, digest, is_handle, is_plain, is_plausible

__all__ = [
    "SCHEMES",
    "Keys",
    "digest",
    "escaped",
    "forwarded",
    "forwarding_address",
    "is_handle",
    "is_plausible",
    "user_marker",
]

_MARKER_LENGTH = 9
# No browser keeps a longer cookie (RFC 6265, section 6.1); a project's own session keys may be long.
_LONGEST_KEY = 4096
# What base64.urlsafe_b64encode() does, with fewer calls.
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


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
    if len(address) > _LONGEST_KEY:
        return None
    mask = shake_256(b"forwarding:" + old.encode()).digest(len(address))
    new = bytes(a ^ b for a, b in zip(address, mask, strict=True)).decode("ascii", "replace")
    return new if new and new.isascii() and new.isprintable() else None


def texts(found: Iterable[bytes]) -> list[str]:
    """What is text among these; what this package has written is, what others have may be anything."""
    names = (each.decode(errors="replace") for each in found)
    return [name for name in names if "\N{REPLACEMENT CHARACTER}" not in name]


@dataclass(frozen=True, slots=True)
class Keys:
    """Names every key of one deployment, and parses them back.

    ``are_spread`` says whether the keys live on several servers, so that no command and no script may
    name two of them.
    """

    prefix: str = "session"
    schemes: tuple[Scheme, ...] = (HASHED,)
    are_spread: bool = False

    def record(self, session_key: str) -> str:
        """The Redis key of a session's record; one of the schemes must accept ``session_key``."""
        return f"{self.prefix}:r:{self.name(session_key)}"

    def record_named(self, name: str) -> str:
        """The Redis key of the record with this ``name()``."""
        return f"{self.prefix}:r:{name}"

    def forwarding(self, session_key: str) -> str:
        """The Redis key of the address that a session has left behind, whatever scheme its record goes by."""
        return f"{self.prefix}:f:{self.handle(session_key)}"

    def moved(self, name: str) -> str:
        """The Redis key under which a session that was named so, or had this handle, has left its new name.

        On a cluster in the slot of the record: what stands in braces decides, the first if there are several
        (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
        """
        return f"{self.prefix}:m:{{{self.record_named(name if self.are_spread else self.handle_of(name))}}}"

    def mark(self, name: str) -> str:
        """The Redis key of the mark that a session has come from another engine, or has gone to one."""
        return (
            f"{self.prefix}:x:{{{self.record_named(name)}}}" if self.are_spread else f"{self.prefix}:x:{name}"
        )

    @property
    def last_arrival(self) -> str:
        """The Redis key of the second in which a session was last adopted from another engine."""
        return f"{self.prefix}:a"

    def index(self, user: bytes) -> str:
        """The Redis key of the index of the user with this marker."""
        return f"{self.prefix}:u:{b2a_base64(user, newline=False).translate(_URL_SAFE).decode()}"

    def bucket(self, network: str) -> str:
        """The Redis key of what is left of the budget of everybody in this network."""
        return f"{self.prefix}:b:{digest(network)}"

    @property
    def channel(self) -> str:
        """The pub/sub channel on which the end of sessions is announced."""
        return f"{self.prefix}:revocations"

    def user_in(self, index: str) -> bytes:
        """The marker of the user whose index has this Redis key; ``ValueError`` if it is nobody's."""
        return urlsafe_b64decode(index[len(self.prefix) + 3 :])

    def indexes_in(self, found: Iterable[bytes]) -> list[str]:
        """Those of these Redis keys that can be users' indexes: somebody else may have written the others."""
        return [index for index in texts(found) if self._is_index(index)]

    def _is_index(self, index: str) -> bool:
        try:
            return self.index(self.user_in(index)) == index
        except ValueError:
            return False

    @property
    def records_pattern(self) -> str:
        """A SCAN pattern that all records match, and no key of another kind or prefix."""
        return f"{escaped(self.prefix)}:r:*"

    @property
    def moved_pattern(self) -> str:
        """A SCAN pattern that what sessions leave when they move matches, and no key of another kind or prefix."""
        return f"{escaped(self.prefix)}:m:*"

    @property
    def indexes_pattern(self) -> str:
        """A SCAN pattern that all users' indexes match, and no key of another kind or prefix."""
        return f"{escaped(self.prefix)}:u:*"

    def patterns(self, *, has_index: bool) -> tuple[str, ...]:
        """Patterns that the keys of sessions match between them, for rules about who may use them."""
        kinds = "rfmu" if has_index else "rfm"
        return tuple(f"{escaped(self.prefix)}:{kind}:*" for kind in kinds)

    @property
    def moving_patterns(self) -> tuple[str, ...]:
        """The same for the keys that tell which sessions have come from another engine, or have gone to one."""
        return f"{escaped(self.prefix)}:x:*", f"{escaped(self.prefix)}:a"

    @property
    def budget_pattern(self) -> str:
        """The same for the keys of budgets."""
        return f"{escaped(self.prefix)}:b:*"

    @property
    def channel_pattern(self) -> str:
        """A pattern that the channel matches and no other."""
        return f"{escaped(self.prefix)}:revocations"

    def names(self, session_key: str | None) -> tuple[str, ...]:
        """What may stand for a session in Redis keys and in indexes, first what does in the first scheme.

        Several while a site moves from one scheme to another; none for text that is no session key.
        """
        if session_key is None:
            return ()
        if len(self.schemes) == 1:
            name = self.schemes[0].name(session_key)
            return () if name is None else (name,)
        names = (scheme.name(session_key) for scheme in self.schemes)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def accepts(self, session_key: str | None) -> TypeGuard[str]:
        """Whether this may be a session key. Anything else is an unknown session and costs no round trip."""
        return bool(self.names(session_key))

    def name(self, session_key: str) -> str:
        """The first of the ``names()``; ``ValueError`` if there is none."""
        for scheme in self.schemes:
            name = scheme.name(session_key)
            if name is not None:
                return name
        raise ValueError("This is no session key.")

    def handle(self, session_key: str) -> str:
        """The public handle of the session with this key; ``session_key`` may be any text."""
        names = self.names(session_key)
        return self.handle_of(names[0]) if names else digest(session_key)

    def new(self) -> str:
        """A session key that nobody has."""
        return self.schemes[0].new()

    def lasting(self, session_key: str) -> str | None:
        """The name that the session shall have, by the first scheme; None if it needs another session key."""
        return self.schemes[0].name(session_key)

    def by(self, session_key: str, name: str) -> Keys:
        """The same keys as seen by the scheme that gives the session this one of its ``names()``."""
        return next(
            replace(self, schemes=(scheme,)) for scheme in self.schemes if scheme.name(session_key) == name
        )

    @property
    def are_moving(self) -> bool:
        """Whether sessions may be kept in another way than new ones are."""
        return len(self.schemes) > 1

    @property
    def may_be_plain(self) -> bool:
        """Whether a session's name may be its session key, so that its handle need not lead to it."""
        return any(map(is_plain, self.schemes))

    def name_in(self, record_key: bytes) -> str:
        """The name of the session whose record has this Redis key."""
        return record_key[len(self.prefix.encode()) + 3 :].decode(errors="replace")

    @staticmethod
    def handle_of(name: str) -> str:
        """The public handle of the session with this name."""
        return name if is_handle(name) else digest(name)


# Redis reads these as wildcards (https://redis.io/docs/latest/commands/keys/).
_WILDCARDS = re.compile(r"[\\*?\[\]^]")


def escaped(text: str) -> str:
    """``text`` as a pattern that it alone matches."""
    return _WILDCARDS.sub(lambda found: "\\" + found[0], text)
