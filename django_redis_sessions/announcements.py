"""What is said when sessions end?

Every change that ends or moves sessions publishes one message on ``Keys.channel``, as JSON::

    {"event":"revoked","handle":H,"user":U or null,"reason":R}   a session has ended
    {"event":"rotated","handle":OLD,"to":NEW,"user":U or null}   a session has moved to another key
    {"event":"user","user":U}                                    all sessions of a user have ended
    {"event":"all"}                                              all sessions have ended

Sessions are named by their public handles, so whoever listens learns nothing that would let them in.
A message that cannot be understood, from a later version for example, is no announcement.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

#: Longer messages are not looked at; the longest of ours is far below.
LONGEST_MESSAGE = 16_384
LONGEST_USER_ID = 1_024
LONGEST_REASON = 128


@dataclass(frozen=True, slots=True)
class Revoked:
    """A session has ended before its time: ``"logout"``, ``"revoked"``, ``"limit"`` or another reason."""

    handle: str
    user_id: str | None
    reason: str

    def as_dict(self) -> dict[str, str | None]:
        """The message before it becomes text."""
        return {"event": "revoked", "handle": self.handle, "user": self.user_id, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Rotated:
    """A session goes on under another key; ``user_id`` is whose it is from now on."""

    old_handle: str
    handle: str
    user_id: str | None

    def as_dict(self) -> dict[str, str | None]:
        """The message before it becomes text."""
        return {"event": "rotated", "handle": self.old_handle, "to": self.handle, "user": self.user_id}


@dataclass(frozen=True, slots=True)
class UserRevoked:
    """All sessions of a user have ended."""

    user_id: str

    def as_dict(self) -> dict[str, str | None]:
        """The message before it becomes text."""
        return {"event": "user", "user": self.user_id}


@dataclass(frozen=True, slots=True)
class AllRevoked:
    """All sessions have ended."""

    def as_dict(self) -> dict[str, str | None]:
        """The message before it becomes text."""
        return {"event": "all"}


Announcement = Revoked | Rotated | UserRevoked | AllRevoked


def revoked(handle: str, user_id: str | None, reason: str) -> bytes:
    """The message that a session has ended."""
    return encode(Revoked(handle, user_id, reason))


def rotated(old_handle: str, handle: str, user_id: str | None) -> bytes:
    """The message that a session has moved to another key."""
    return encode(Rotated(old_handle, handle, user_id))


def user_revoked(user_id: str) -> bytes:
    """The message that all sessions of a user have ended."""
    return encode(UserRevoked(user_id))


def all_revoked() -> bytes:
    """The message that all sessions have ended."""
    return encode(AllRevoked())


def encode(announcement: Announcement) -> bytes:
    """The message to publish; ASCII, so that it survives whatever handles it."""
    return json.dumps(announcement.as_dict(), separators=(",", ":")).encode("ascii")


def decode(message: bytes) -> Announcement | None:
    """What ``message`` announces; None if it is none of ours, whatever it is."""
    if len(message) > LONGEST_MESSAGE:
        return None
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return _announced(said) if isinstance(said, dict) else None


def _announced(said: dict[str, Any]) -> Announcement | None:
    match said:
        case {"event": "revoked", "handle": handle, "user": user_id, "reason": reason}:
            if _is_handle(handle) and _is_owner(user_id) and _is_text(reason, LONGEST_REASON):
                return Revoked(handle, user_id, reason)
        case {"event": "rotated", "handle": old_handle, "to": handle, "user": user_id}:
            if _is_handle(old_handle) and _is_handle(handle) and _is_owner(user_id):
                return Rotated(old_handle, handle, user_id)
        case {"event": "user", "user": user_id}:
            if _is_text(user_id, LONGEST_USER_ID):
                return UserRevoked(user_id)
        case {"event": "all"}:
            return AllRevoked()
    return None


_HANDLE = re.compile(r"[0-9A-Za-z_-]{24}", re.ASCII).fullmatch


def _is_handle(value: Any) -> bool:
    return isinstance(value, str) and _HANDLE(value) is not None


def _is_owner(value: Any) -> bool:
    return value is None or _is_text(value, LONGEST_USER_ID)


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest
