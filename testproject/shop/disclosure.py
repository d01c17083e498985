"""How much of a session may its page show?

The session key is a password, and so is what some applications keep inside a session: both are shown redacted.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.timesince import timesince

from django_redis_sessions.masking import entries as entries


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as its page shows it, whether it was read by a blocking or by an async view.

    `lasts` is in seconds; so is the time between the last change and `ends`.
    """

    key: str
    entries: list[tuple[str, str]]
    ends: datetime
    lasts: float
    ends_with_browser: bool

    @property
    def lasts_in_words(self) -> str:
        return timesince(self.ends - timedelta(seconds=self.lasts), self.ends)


def redacted(session_key: str | None) -> str:
    """The first four characters of a session key; "" when there is no session."""
    return f"{session_key[:4]}…" if session_key else ""
