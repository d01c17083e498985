"""How much of a session may its page show?

The session key is a password, and so is what some applications keep inside a session: both are shown redacted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.timesince import timesince

SECRET_WORDS = ("hash", "password", "token", "secret")
MASK = "••••••••"


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


def entries(items: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Names and values of a session in alphabetical order, as text that may be shown."""
    return sorted((str(name), _text(_masked(name, value))) for name, value in items)


def _masked(name: object, value: Any) -> Any:
    if any(word in str(name).lower() for word in SECRET_WORDS):
        return MASK
    if isinstance(value, dict):
        return {inner: _masked(inner, content) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", content) for content in value]
    return value


def _text(value: Any) -> str:
    # default=repr: a project with another serializer may keep values that JSON cannot say.
    return json.dumps(value, indent=2, ensure_ascii=False, default=repr)
