"""Django's own session tests, unmodified, with this package's engine in place of Django's.

``run.py`` puts ``sessions_tests`` on the path. All classes refuse database queries.
"""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any
from unittest import mock

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.test import SimpleTestCase, override_settings
from sessions_tests import tests as django_tests

from django_redis_sessions.backend import SessionStore

MIDDLEWARE = {"django": DjangoSessionMiddleware}
if importlib.util.find_spec("django_redis_sessions.middleware"):
    from django_redis_sessions.middleware import SessionMiddleware

    MIDDLEWARE["ours"] = SessionMiddleware


class HashedKeys(django_tests.SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


@override_settings(SESSION_REDIS={**settings.SESSION_REDIS, "KEYS": "plain"})
class PlainKeys(django_tests.SessionTestsMixin, SimpleTestCase):
    backend = SessionStore


class SessionTable:
    """Stands where Django's tests look a session up in its table."""

    class objects:  # noqa: N801
        @staticmethod
        def get(*, session_key: str) -> Any:
            store = SessionStore(session_key)
            return SimpleNamespace(get_decoded=store.load)


class AwaitedMiddleware:
    """A middleware whose asynchronous half is run, with the face of the synchronous one."""

    def __init__(self, middleware: type, get_response: Any) -> None:
        self._middleware = middleware(sync_to_async(get_response))
        assert iscoroutinefunction(self._middleware)

    def __call__(self, request: Any) -> Any:
        return async_to_sync(self._middleware)(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._middleware, name)


class MiddlewareTests(django_tests.SessionMiddlewareTests):
    """Django's tests of the middleware; those that name the database engine meet this one."""

    databases = frozenset()
    middleware = "django"
    awaited = False

    def setUp(self) -> None:
        if self.middleware not in MIDDLEWARE:
            self.skipTest("This package has no middleware of its own yet.")
        chosen = MIDDLEWARE[self.middleware]
        if self.awaited:
            names: Any = lambda get_response: AwaitedMiddleware(chosen, get_response)  # noqa: E731
        else:
            names = chosen
        patch = mock.patch.multiple(
            django_tests, SessionMiddleware=names, DatabaseSession=SessionStore, Session=SessionTable
        )
        patch.start()
        self.addCleanup(patch.stop)


class AwaitedMiddlewareTests(MiddlewareTests):
    awaited = True


class OwnMiddlewareTests(MiddlewareTests):
    middleware = "ours"


class AwaitedOwnMiddlewareTests(MiddlewareTests):
    middleware = "ours"
    awaited = True
