"""The Django project in which everybody is measured; the environment says where things are.

``BENCHMARK_SOCKET``     the server's unix socket
``BENCHMARK_DIRECTORY``  where the database file may lie
``BENCHMARK_CONTENDER``  whose engine and middleware the website uses
``BENCHMARK_PROTOCOL``   wsgi or asgi
"""

from __future__ import annotations

import os

from benchmarks.contenders import BY_NAME

_URL = f"unix://{os.environ['BENCHMARK_SOCKET']}"
_CONTENDER = BY_NAME[os.environ.get("BENCHMARK_CONTENDER", "this")]

SECRET_KEY = "only for benchmarks"  # noqa: S105 - guards nothing
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django_redis_sessions",
]
MIDDLEWARE = [_CONTENDER.middleware]
ROOT_URLCONF = "benchmarks.website"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SESSION_ENGINE = _CONTENDER.engine
SESSION_CACHE_ALIAS = _CONTENDER.cache
SESSION_REDIS = {"URL": _URL}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": _URL,
        "KEY_PREFIX": "django",
    },
    "django-redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": _URL,
        "KEY_PREFIX": "django-redis",
        # With redis-py's default of 100, more asynchronous requests at a time lose their sessions.
        "OPTIONS": {"CONNECTION_POOL_KWARGS": {"max_connections": 1_000}},
    },
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["BENCHMARK_DIRECTORY"], "db.sqlite3"),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
        # Under ASGI, Django's documentation asks for connections that end with their request.
        "CONN_MAX_AGE": 0 if os.environ.get("BENCHMARK_PROTOCOL") == "asgi" else None,
    }
}
LOGGING_CONFIG = None
