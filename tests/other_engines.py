"""Django's other engines on real stores, for the tests that move sessions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

DJANGO = "django.contrib.sessions.backends."
NAMES = ("db", "cached_db", "cache", "file")


def use(name: str, settings: Any, server: Any, prefix: str, tmp_path: Any, patch: pytest.MonkeyPatch) -> type:
    """The ``SessionStore`` of Django's engine ``name``, with a place of its own to keep sessions in.

    That may be on the same server, where the engine is a user who may do everything.
    """
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"unix://{server.socket}",
            "KEY_PREFIX": f"{prefix}:[c]",
        },
        "here": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": prefix},
        "extra": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"unix://{server.socket}",
            "KEY_PREFIX": f"{prefix}:django-redis",
        },
    }
    settings.SESSION_FILE_PATH = str(tmp_path)
    store_class = import_module(DJANGO + name).SessionStore
    if name == "file":
        patch.setattr(store_class, "_storage_path", str(tmp_path), raising=False)
    return store_class


def begun(store_class: type, user_id: str | None = None, **data: Any) -> Any:
    """A stored session of that engine."""
    session = store_class()
    if user_id is not None:
        session.update({SESSION_KEY: user_id, BACKEND_SESSION_KEY: "backend", HASH_SESSION_KEY: "hash"})
    session.update(data)
    session.save()
    return session


def hide_the_table(patch: pytest.MonkeyPatch) -> None:
    """Let every query for Django's sessions in the database fail."""
    # A field keeps the column that it is asked for first, with the table's name of then.
    str(Session.objects.all().query)
    patch.setattr(Session._meta, "db_table", "nowhere")


def close_databases() -> None:
    """Close this thread's connections; Django keeps those of databases in memory."""
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)
