import os

REDIS_USER = {"username": "django", "password": os.environ["SESSION_REDIS_PASSWORD"]}

SESSION_ENGINE = "django_redis_sessions.backend"
SESSION_REDIS = {
    "URL": "redis+sentinel://one.example.com:26379,two.example.com:26379,three.example.com:26379/mymaster/0",
    # The same name and password at the servers and at the sentinels.
    "OPTIONS": {**REDIS_USER, "sentinel_kwargs": REDIS_USER},
    # A sign-in counts when one of the two replicas has it.
    "WAIT_REPLICAS": 1,
}
