"""What happens to a user's sessions when the password changes?

Django ends them by itself, one by one: each holds a hash that no longer fits, and is emptied when it
is next used. Until then they are listed, count towards a limit, and hold what they hold; and open
sockets stay open. ``RevokeOtherSessions`` ends them at once.

Django sends no signal for a change of password. What it does call is ``password_changed()`` of each
of ``AUTH_PASSWORD_VALIDATORS``, whoever changes it: the user, an administrator, a command, a reset by
mail; and not when a password is only hashed anew because PASSWORD_HASHERS has changed. So this is a
validator, one that has nothing against any password::

    AUTH_PASSWORD_VALIDATORS = [..., {"NAME": "django_redis_sessions.passwords.RevokeOtherSessions"}]
"""

from __future__ import annotations

import logging
from typing import Any

from django_redis_sessions import current, sessions
from django_redis_sessions.errors import SessionStoreError

_log = logging.getLogger("django_redis_sessions")


class RevokeOtherSessions:
    """Ends a user's sessions when the password has changed, but for the one that the change was made in."""

    def validate(self, password: str, user: object = None) -> None:
        """Any password will do."""

    def password_changed(self, password: str, user: Any = None) -> None:
        """End the other sessions, with the reason ``"password"``. Six round trips.

        A failure is logged only: the change is made, and Django's check of the hash does the rest.
        """
        if user is None or user.pk is None:
            return
        try:
            sessions.revoke_user(user, keep=current.session.get(), reason="password")
        except SessionStoreError as error:
            _log.error("The password was changed, but the user's other sessions were not ended: %s", error)

    def get_help_text(self) -> str:
        """Nothing that somebody who chooses a password has to know."""
        return ""
