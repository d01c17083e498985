"""Django's engine ``cached_db``, which fetches from Redis what it does not know; see the package's docstring."""

from __future__ import annotations

from django.contrib.sessions.backends import cached_db

from django_redis_sessions.leaving import Leaving


class SessionStore(Leaving, cached_db.SessionStore):
    """As Django's, whose name its sessions are signed with."""

    target = "django.contrib.sessions.backends.cached_db"
