"""Django's engine ``cache``, which fetches from Redis what it does not know; see the package's docstring."""

from __future__ import annotations

from django.contrib.sessions.backends import cache

from django_redis_sessions.leaving import Leaving


class SessionStore(Leaving, cache.SessionStore):
    """As Django's, whose name its sessions are signed with."""

    target = "django.contrib.sessions.backends.cache"
