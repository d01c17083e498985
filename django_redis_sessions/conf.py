"""Where are Django's settings read?

Here alone, at first use, and again after ``setting_changed`` (so ``override_settings`` works).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from django_redis_sessions import configuration, diagnosis, dictionary_files, protection, schemes
from django_redis_sessions.configuration import SETTING, Problem, settings_from
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.schemes import needs_secrets
from django_redis_sessions.store import Store, Stores, ring_of

_lock = threading.Lock()
_stores: Stores | None = None

#: The region that whatever concerns all sessions is about, in this task or thread; None: that of this process.
region: ContextVar[str | None] = ContextVar("region", default=None)


def given() -> Any:
    """The value of ``SESSION_REDIS`` as the project wrote it; ``{}`` when it wrote none."""
    return getattr(settings, SETTING, {})


def problems() -> list[Problem]:
    """All that is wrong with ``SESSION_REDIS`` and with what it needs: files, classes, a library; no round trip.

    Imports the classes that ``KEYS`` names.
    """
    found = configuration.problems(given())
    return found or [
        *dictionary_files.problems(settings_from(given()).compression, _base()),
        *_key_problems(settings_from(given()).keys),
        *_missing(),
    ]


def is_debug() -> bool:
    """Whether this is a developer's machine."""
    return bool(settings.DEBUG)


def store() -> Store:
    """The store that the project's settings describe; ``SessionStoreMisconfigured`` if they describe none.

    Where there are regions, that of the ``region`` one is in.
    """
    found = stores()
    return found.named(region.get()) if found.by_region else found.home


def stores() -> Stores:
    """The stores of all regions, or the one there is; ``SessionStoreMisconfigured`` as ``store()``."""
    return _stores if _stores is not None else _read()


def store_of(session_key: str | None) -> Store:
    """Where the session with this key lives; as ``store()`` without one. No round trip."""
    found = stores()
    return found.of_key(session_key) if found.by_region and session_key is not None else store()


def saves_every_request() -> bool:
    """Whether sessions are saved even when nothing in them was changed."""
    return bool(settings.SESSION_SAVE_EVERY_REQUEST)


def cookie_name() -> str:
    """The name of the session cookie."""
    name: str = settings.SESSION_COOKIE_NAME
    return name


def cookie_place() -> dict[str, Any]:
    """What names one cookie in a browser, as arguments for setting and deleting it."""
    return {
        "key": settings.SESSION_COOKIE_NAME,
        "path": settings.SESSION_COOKIE_PATH,
        "domain": settings.SESSION_COOKIE_DOMAIN,
        "samesite": settings.SESSION_COOKIE_SAMESITE,
    }


def cookie_flags() -> dict[str, Any]:
    """What only setting a cookie needs."""
    return {
        "secure": settings.SESSION_COOKIE_SECURE or None,
        "httponly": settings.SESSION_COOKIE_HTTPONLY or None,
    }


def has_retired_secret_keys() -> bool:
    """Whether sessions may still carry a hash made with an older SECRET_KEY."""
    return bool(settings.SECRET_KEY_FALLBACKS)


def secret_keys(*, are_needed: bool = True) -> tuple[str | bytes, ...]:
    """SECRET_KEY, and behind it those of before; none where the project has none, and none ``are_needed``."""
    try:
        return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    except ImproperlyConfigured:
        if are_needed:
            raise
        return ()


def authentication_backends() -> list[str]:
    """The dotted paths a session may name as the one that signed its user in."""
    return list(settings.AUTHENTICATION_BACKENDS)


def middleware() -> list[str]:
    """The dotted paths of what stands around each request."""
    return list(settings.MIDDLEWARE)


def password_validators() -> list[str]:
    """The dotted paths of what is asked about a new password, and told of it."""
    return [validator["NAME"] for validator in settings.AUTH_PASSWORD_VALIDATORS]


def site() -> diagnosis.Site:
    """What there is to judge of the project's settings; ``SessionStoreMisconfigured`` if SESSION_REDIS is unusable.

    Imports the engine and the middleware.
    """
    found = (
        diagnosis.cache_at(alias, cache.get("LOCATION", ""), cache.get("OPTIONS") or {})
        for alias, cache in settings.CACHES.items()
        # The database's table and the file system's path are locations too.
        if "redis" in cache.get("BACKEND", "").lower() or "valkey" in cache.get("BACKEND", "").lower()
    )
    read = settings_from(given())
    if (chosen := region.get()) is not None:
        read = read.at(chosen)
    return diagnosis.Site(
        settings=read,
        ring=ring_of(read, secret_keys(are_needed=read.sign)),
        given=frozenset(given()),
        is_debug=is_debug(),
        is_engine=_comes_from(f"{settings.SESSION_ENGINE}.SessionStore", "django_redis_sessions.backend"),
        is_leaving=is_leaving(),
        has_middleware=any(_comes_from(path, "django_redis_sessions.middleware") for path in middleware()),
        serializer=settings.SESSION_SERIALIZER,
        saves_every_request=saves_every_request(),
        cookie_age=settings.SESSION_COOKIE_AGE,
        sets_cookie_age=settings.is_overridden("SESSION_COOKIE_AGE"),
        expires_at_browser_close=settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
        cookie_secure=bool(settings.SESSION_COOKIE_SECURE),
        cookie_httponly=bool(settings.SESSION_COOKIE_HTTPONLY),
        cookie_samesite=settings.SESSION_COOKIE_SAMESITE or None,
        caches=tuple(cache for cache in found if cache is not None),
    )


def is_leaving() -> bool:
    """Whether SESSION_ENGINE is one of ``leaving``, or made from one."""
    return _comes_from(f"{settings.SESSION_ENGINE}.SessionStore", "django_redis_sessions.leaving")


def place_after_logout() -> str:
    """Where somebody goes who has signed out: an address or the name of one."""
    return str(settings.LOGOUT_REDIRECT_URL or settings.LOGIN_URL)


def hold_embedded_server() -> None:
    """Make this process a user of the embedded server, if the project has one.

    The reloader's outer process lives on while the inner one, which serves, is replaced: without
    it the server would end with every change to the code, and everybody's session with it.
    """
    if problems():
        return
    for each in stores():
        if each.settings.url.startswith("embedded:"):
            try:
                each.connections.client().execute(("PING",))
            except SessionStoreError:
                pass  # the inner process meets the same error, and reports it where it is looked for


def _comes_from(path: str, module: str) -> bool:
    """Whether what has this dotted path is a class of that module, or a subclass of one."""
    try:
        named = import_string(path)
    except ImportError:
        return False
    return any(base.__module__ == module for base in getattr(named, "__mro__", ()))


def _read() -> Stores:
    global _stores
    with _lock:
        if _stores is None:
            read = settings_from(given())
            _stores = Stores.of(
                read,
                project=_project(),
                directory=_base(),
                secrets=secret_keys(are_needed=read.sign or needs_secrets(read.keys)),
            )
        return _stores


def _missing() -> list[Problem]:
    if given().get("ENCRYPTION_KEYS") and not protection.can_encrypt():
        return [Problem("E010", protection.MISSING)]
    return []


def _project() -> str:
    """The settings module with its place: the same for all processes of one project on this machine."""
    return f"{getattr(settings, 'SETTINGS_MODULE', '')}@{_base()}"


def _key_problems(names: Iterable[str]) -> Iterator[Problem]:
    for path in names:
        if path not in schemes.SCHEMES and (wrong := schemes.problem(path, settings.SECRET_KEY)):
            hint = (
                "Name a class with the methods of django_redis_sessions.schemes.Scheme, made from SECRET_KEY."
            )
            yield Problem("E009", wrong, hint)


def _base() -> str:
    """Where the project is: ``BASE_DIR``, as ``startproject`` writes it, else the working directory."""
    return os.path.abspath(getattr(settings, "BASE_DIR", None) or os.getcwd())


def _forget(*, setting: str, **_: Any) -> None:
    global _stores
    if _stores is None:
        return
    is_secret, read = setting in ("SECRET_KEY", "SECRET_KEY_FALLBACKS"), _stores.home.settings
    if setting == SETTING or (is_secret and needs_secrets(read.keys)):
        _stores.close()
        _stores = None
    elif is_secret:
        _stores = _stores.protected_by(ring_of(read, secret_keys(are_needed=read.sign)))


setting_changed.connect(_forget, dispatch_uid="django_redis_sessions.conf")
