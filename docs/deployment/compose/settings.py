import os

SESSION_ENGINE = "django_redis_sessions.backend"
SESSION_REDIS = {
    "URL": "redis://sessions:6379/0",
    "OPTIONS": {"username": "django", "password": os.environ["SESSION_REDIS_PASSWORD"]},
}
