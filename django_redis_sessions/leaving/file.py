"""Django's engine ``file``, which fetches from Redis what it does not know; see the package's docstring."""

from __future__ import annotations

from django.contrib.sessions.backends import file

from django_redis_sessions.leaving import Leaving


class SessionStore(Leaving, file.SessionStore):
    """As Django's, whose name its sessions are signed with."""

    target = "django.contrib.sessions.backends.file"
