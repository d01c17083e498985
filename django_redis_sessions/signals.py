"""What does the package tell a project's own code, and when?

Django signals, sent by the process in which it happens, after it has happened; a receiver that fails
is logged and changes nothing. Arguments of all: ``user_id``, the primary key as text or None when
nobody is signed in, and ``handle``, the session's public name.

- ``session_created``: a visitor's first session is stored, or a user signs in, which begins a life of
  its own under the same handle.
- ``session_rotated``: a session goes on under another key; with ``old_handle``.
- ``session_revoked``: a session has ended before its time; with ``reason``: ``"logout"``, ``"limit"``
  (``MAX_SESSIONS_PER_USER``), or what ``sessions.revoke()`` and ``revoke_user()`` were given, ``"revoked"``
  by default.
- ``session_expired``: a signed-in session's time was up. Nobody is there when that happens, so it is
  found out by ``manage.py redis_sessions sweep``, and sent at least once for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.dispatch import Signal

from django_redis_sessions.announcements import Revoked, Rotated
from django_redis_sessions.held import Created

session_created = Signal()
session_rotated = Signal()
session_revoked = Signal()
session_expired = Signal()


def tell(sender: type, news: Iterable[Created | Rotated | Revoked]) -> None:
    """Send the signal for each of the ``news``; errors of receivers are logged by Django."""
    for signal, arguments in map(_said, news):
        if signal.has_listeners(sender):
            signal.send_robust(sender, **arguments)


async def atell(sender: type, news: Iterable[Created | Rotated | Revoked]) -> None:
    """Async twin of ``tell()``."""
    for signal, arguments in map(_said, news):
        if signal.has_listeners(sender):
            await signal.asend_robust(sender, **arguments)


def _said(event: Created | Rotated | Revoked) -> tuple[Signal, dict[str, Any]]:
    arguments: dict[str, Any] = {"user_id": event.user_id, "handle": event.handle}
    if isinstance(event, Created):
        return session_created, arguments
    if isinstance(event, Rotated):
        return session_rotated, {**arguments, "old_handle": event.old_handle}
    return session_revoked, {**arguments, "reason": event.reason}
