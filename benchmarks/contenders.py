"""Who is compared with whom?"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

DJANGO_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A session engine as a project would set it up, or (``engine`` is empty) bare commands without a session."""

    name: str
    label: str
    engine: str = ""
    cache: str = "default"
    middleware: str = DJANGO_MIDDLEWARE
    #: The package that has to be installed, by its import name.
    needs: str = "redis"
    is_on_redis: bool = True
    #: Beside what every contender that keeps its sessions with this package has in SESSION_REDIS.
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether it can take part here."""
        return find_spec(self.needs) is not None

    def turn_to(self) -> None:
        """Make Django's settings this contender's.

        Django's cache engines ask the settings for their cache whenever a session object is made,
        so only one contender can be turned to at a time.
        """
        from django.conf import settings
        from django.test.signals import setting_changed

        settings.SESSION_CACHE_ALIAS = self.cache
        if (given := {"URL": settings.SESSION_REDIS["URL"], **dict(self.options)}) != settings.SESSION_REDIS:
            settings.SESSION_REDIS = given
            setting_changed.send(Contender, setting="SESSION_REDIS", value=given, enter=True)

    def session_store(self) -> Any:
        """Its ``SessionStore`` class, untouched."""
        return import_module(self.engine).SessionStore


RAW = Contender(name="raw", label="raw socket + hiredis", needs="hiredis")
REDIS_PY = Contender(name="redis-py", label="redis-py, bare commands")
THIS = Contender(
    name="this",
    label="this package",
    engine="django_redis_sessions.backend",
    middleware="django_redis_sessions.middleware.SessionMiddleware",
)
#: For the bytes alone.
WITHOUT_INDEX = Contender(
    name="this-without-index",
    label='this package, "USER_INDEX": False',
    engine=THIS.engine,
    options=(("USER_INDEX", False),),
)
DJANGO_CACHE = Contender(
    name="django-cache", label="Django's cache engine", engine="django.contrib.sessions.backends.cache"
)
DJANGO_REDIS = Contender(
    name="django-redis",
    label="cache engine on django-redis",
    engine="django.contrib.sessions.backends.cache",
    cache="django-redis",
    needs="django_redis",
)
CACHED_DB = Contender(
    name="cached-db",
    label="Django's cached_db engine, SQLite",
    engine="django.contrib.sessions.backends.cached_db",
)
DB = Contender(
    name="db",
    label="Django's db engine, SQLite",
    engine="django.contrib.sessions.backends.db",
    is_on_redis=False,
)

ALL = (RAW, REDIS_PY, THIS, DJANGO_REDIS, DJANGO_CACHE, CACHED_DB, DB)
BY_NAME = {contender.name: contender for contender in ALL}
