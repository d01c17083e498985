"""What is a device called in the reader's language?"""

from __future__ import annotations

from django.utils.translation import gettext

from django_redis_sessions.devices import UNKNOWN, described


def worded(user_agent: str | None) -> str:
    """``devices.described()`` in the active language; names of browsers and systems are the same in all."""
    name = described(user_agent)
    if name == UNKNOWN:
        return gettext("Unknown device")
    browser, on, system = name.partition(" on ")
    return gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system} if on else name
