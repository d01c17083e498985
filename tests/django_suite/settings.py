"""Settings for Django's own session tests: this engine, a server of its own, and no database."""

from __future__ import annotations

SECRET_KEY = "django-suite"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
# Django's tests bring models of their own, in an app named as their folder.
INSTALLED_APPS = ["django.contrib.sessions", "sessions_tests"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SESSION_ENGINE = "django_redis_sessions.backend"
SESSION_REDIS = {"URL": "embedded://", "PREFIX": "django-suite"}
