"""Which errors does this package raise of its own?

::

    SessionStoreError
    ├── SessionStoreUnavailable    nobody answers, or not in time: try again later
    │   ├── SessionNotReplicated   written, but fewer replicas than WAIT_REPLICAS have it
    │   └── OtherEngineUnavailable an engine that sessions are moved from or to has failed
    ├── SessionStoreRefused        Redis answered and said no, out of memory for example
    │   └── UnknownScript          the server does not know a script yet (never reaches a view)
    ├── SessionStoreMisconfigured  a setting, a password or a right is wrong: a person has to act
    ├── SessionEnded               the session was deleted meanwhile, by a logout for example
    ├── SessionConflict            somebody else has saved the session meanwhile
    ├── SessionKeyTaken            a session with this key exists already
    ├── SessionLimitReached        the user has as many sessions as MAX_SESSIONS_PER_USER allows
    ├── SessionTooLarge            the session would take more than MAX_SIZE allows
    ├── SessionBudgetSpent         the visitor's address has begun more sessions than ANONYMOUS_BUDGET allows
    ├── TooFewSessions             too little is stored to train a dictionary on (never reaches a view)
    └── CorruptRecord              stored bytes that cannot be a session (never reaches a view)

Under Django, ``SessionEnded`` and ``SessionConflict`` are also an ``UpdateError`` and a
``SessionInterrupted``, which Django answers with 400, and ``SessionKeyTaken`` is also a ``CreateError``.
Our middleware answers ``SessionLimitReached`` with 403, and ``SessionBudgetSpent`` with 429 where a view lets it out.
No message holds a password, a session key or session data, but ``SessionTooLarge`` names the largest entries.
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


class SessionNotReplicated(SessionStoreUnavailable):
    """A login or logout is on the primary alone, and a failover now could undo it."""

    def __init__(self, wanted: int, reached: int) -> None:
        super().__init__(
            f"Redis has stored the change, but {reached} of {wanted} replicas have it. "
            f"Look at the replicas, or lower SESSION_REDIS['WAIT_REPLICAS']."
        )


class OtherEngineUnavailable(SessionStoreUnavailable):
    """What another engine holds is not known now; its own error is the cause."""

    def __init__(self, engine: str, error: Exception) -> None:
        super().__init__(
            f"The session engine {engine} failed with {type(error).__name__}, so nobody knows which sessions "
            f"it holds. Look at what it keeps them in, or at SESSION_REDIS['FALLBACK_ENGINES']."
        )
        self.engine = engine


class SessionStoreRefused(SessionStoreError):
    """Redis answered with an error. What was asked for has not happened."""


class UnknownScript(SessionStoreRefused):
    """The server has not seen this script since it started; send its text."""


class SessionStoreMisconfigured(SessionStoreError):
    """Nothing will work until somebody changes a setting or a password."""


class SessionEnded(SessionStoreError):
    """The session is gone, and nothing was written: what was deleted is never brought back."""

    def __init__(self) -> None:
        super().__init__("The session was deleted before the request completed, by a logout for example.")


class SessionConflict(SessionStoreError):
    """Somebody else has saved the session since it was read, and nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "The session was saved by somebody else since it was read. "
            "Read it again and repeat the change, or let SESSION_REDIS['CONFLICT'] be 'merge'."
        )


class SessionKeyTaken(SessionStoreError):
    """A session with this key exists already, and nothing was written."""

    def __init__(self) -> None:
        super().__init__("A session with this key exists already.")


class SessionLimitReached(SessionStoreError):
    """The user may have no further session, and nothing was written: nobody was signed in."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"This user is signed in {limit} times already, which is as often as "
            f"SESSION_REDIS['MAX_SESSIONS_PER_USER'] allows. Sign out somewhere else first."
        )
        self.limit = limit


class SessionTooLarge(SessionStoreError):
    """The session would take more bytes than allowed, and nothing was written: what is stored is as it was.

    ``handle`` is None for a session that is not stored yet. ``largest`` has the names of the largest keys in
    the session, each with the bytes of its value before compression; no value.
    """

    def __init__(
        self,
        handle: str | None,
        size: int,
        limit: int,
        largest: list[tuple[str, int]],
        measure: str = "as stored",
    ) -> None:
        which = "A new session" if handle is None else f"The session {handle}"
        parts = ", ".join(f"{name!r} {taken:,}" for name, taken in largest)
        super().__init__(
            f"{which} would take {size:,} bytes {measure}, more than the {limit:,} that SESSION_REDIS['MAX_SIZE'] "
            f"allows, and was not written. Largest in it, in bytes before compression: {parts}. "
            f"Keep the key of a row or a file in the session rather than its content."
        )
        self.handle = handle
        self.size = size
        self.limit = limit
        self.largest = largest


class SessionBudgetSpent(SessionStoreError):
    """An anonymous session was not stored: its address has begun as many as ``ANONYMOUS_BUDGET`` allows."""

    def __init__(self) -> None:
        super().__init__(
            "An anonymous session was not stored: its address has begun as many as "
            "SESSION_REDIS['ANONYMOUS_BUDGET'] allows for now."
        )


class TooFewSessions(SessionStoreError):
    """No dictionary was trained: too few sessions are stored, or their visitors have too little in common."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No dictionary was trained: {reason}.")


class CorruptRecord(SessionStoreError):
    """Bytes under a session's Redis key that are no session; ``reason`` is a short phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The record is no session: {reason}.")
        self.reason = reason
