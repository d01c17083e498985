"""Is a session given a new key only because SECRET_KEY was rotated?

``get_user()`` of django.contrib.auth cycles the key when it meets a session whose hash fits an entry
of SECRET_KEY_FALLBACKS, and on the first page after a deployment parallel requests all do. Nothing
is gained by making the others fail, so that old key may lead to the new one for a few seconds.
``update_session_auth_hash()`` cycles the key after a change of password: there it must not.

The difference is in the hash: after a change of password the session's hash fits no key any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, load_backend
from django.utils.crypto import constant_time_compare

from django_redis_sessions import conf


def is_rehash(data: Mapping[str, Any]) -> bool:
    """Whether the session's user still has the password it was signed in with, under a retired SECRET_KEY.

    One query for the user, and none where SECRET_KEY_FALLBACKS is empty or nobody is signed in.
    """
    backend = _backend(data)
    return backend is not None and _has_retired_hash(backend.get_user(data[SESSION_KEY]), data)


async def ais_rehash(data: Mapping[str, Any]) -> bool:
    """Async twin of ``is_rehash()``."""
    backend = _backend(data)
    if backend is None:
        return False
    get_user = getattr(backend, "aget_user", None) or sync_to_async(backend.get_user)
    return _has_retired_hash(await get_user(data[SESSION_KEY]), data)


def _backend(data: Mapping[str, Any]) -> Any:
    path = data.get(BACKEND_SESSION_KEY)
    # Only what the project names is imported, whatever the session says.
    if (
        not conf.has_retired_secret_keys()
        or SESSION_KEY not in data
        or path not in conf.authentication_backends()
    ):
        return None
    return load_backend(path)


def _has_retired_hash(user: Any, data: Mapping[str, Any]) -> bool:
    found = data.get(HASH_SESSION_KEY)
    if not isinstance(found, str) or not hasattr(user, "get_session_auth_fallback_hash"):
        return False
    return any(constant_time_compare(found, retired) for retired in user.get_session_auth_fallback_hash())
