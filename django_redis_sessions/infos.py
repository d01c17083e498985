"""What may be said about a session to its user, or to an operator?

Nothing here is a credential: a handle names a session, and nobody can sign in with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One stored session; times are aware, in UTC, ``size`` is the bytes of its record.

    ``created`` is when the sign-in (without one, the session) began, ``last_seen`` when its life was
    last extended. ``address`` and ``user_agent`` are what ``DEVICES`` lets the middleware keep.
    ``is_readable`` is False for a record that cannot be decoded, and ``why_unreadable`` says why; then only
    handle and size are sure. ``region`` is where it lives, None where there are no regions.
    """

    handle: str
    user_id: str | None
    is_anonymous: bool
    created: datetime
    last_seen: datetime
    expires: datetime
    size: int
    address: str | None = None
    user_agent: str | None = None
    is_current: bool = False
    is_readable: bool = True
    why_unreadable: str | None = None
    region: str | None = None
