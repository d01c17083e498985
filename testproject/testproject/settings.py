"""How do the smallest settings look that keep sessions in Redis?

What a reader of this project came for is under "Sessions"; the rest is what `django-admin startproject` writes.
Nothing here is fit for production: the secret key is public and DEBUG is on.

Environment variables, all optional:

======================== ============================================================================
TESTPROJECT_ENGINE       session engine, to compare with one of Django's own
TESTPROJECT_REDIS        URL of the Redis server; ``embedded://`` starts one
TESTPROJECT_MIDDLEWARE   ``django`` takes Django's own session middleware
TESTPROJECT_DB           path of the SQLite file that keeps the users
TESTPROJECT_DEBUG        ``0`` turns DEBUG off, and with it the serving of static files
TESTPROJECT_PASSWORDS    ``quick`` hashes them as no real site may: tests sign in often
======================== ============================================================================
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Sessions -------------------------------------------------------------------------------------------------------

SESSION_ENGINE = os.environ.get("TESTPROJECT_ENGINE", "django_redis_sessions.backend")
SESSION_REDIS = {
    "URL": os.environ.get("TESTPROJECT_REDIS", "embedded://"),
    "PREFIX": "testproject",
}

# Django's own middleware is enough; ours answers 503 when Redis is away, and stays on the event loop.
if os.environ.get("TESTPROJECT_MIDDLEWARE") == "django":
    SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
else:
    SESSION_MIDDLEWARE = "django_redis_sessions.middleware.SessionMiddleware"

# --- Everything else ------------------------------------------------------------------------------------------------

SECRET_KEY = "django-insecure-this-key-is-public-because-it-only-guards-a-demo"
DEBUG = os.environ.get("TESTPROJECT_DEBUG", "1") != "0"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "shop",  # before the package, because it gives the package's pages the look of the shop
    "django_redis_sessions",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "shop.middleware.content_security_policy",
    SESSION_MIDDLEWARE,
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.context_processors.cart",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TESTPROJECT_DB", BASE_DIR / "db.sqlite3"),
    },
}

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

if os.environ.get("TESTPROJECT_PASSWORDS") == "quick":
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "shop"

STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
