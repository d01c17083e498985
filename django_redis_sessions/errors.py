"""Which errors does this package raise of its own?

::

    SessionStoreError
    ├── SessionStoreUnavailable    nobody answers, or not in time: try again later
    ├── SessionStoreRefused        Redis answered and said no (read-only, out of memory, not permitted)
    ├── SessionStoreMisconfigured  a setting is wrong, or a password: a person has to change something
    └── CorruptRecord              stored bytes that cannot be a session (never reaches a view)

Django's own ``CreateError`` and ``UpdateError`` are raised where Django expects them and are not part of this tree.
No message holds a password, a session key or session data.
"""

from __future__ import annotations


class SessionStoreError(Exception):
    """Base of all errors here; ``address`` says which server, where one was involved."""

    def __init__(self, message: str, *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address


class SessionStoreUnavailable(SessionStoreError):
    """No answer from Redis: refused, timed out, or still starting.

    What was asked for may have happened all the same, if only the answer was lost.
    """


class SessionStoreRefused(SessionStoreError):
    """Redis answered with an error. What was asked for has not happened."""


class SessionStoreMisconfigured(SessionStoreError):
    """Nothing will work until somebody changes a setting or a password."""


class CorruptRecord(SessionStoreError):
    """Bytes under a session's Redis key that are no session; ``reason`` is a short phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The record is no session: {reason}.")
        self.reason = reason
