import os

SESSION_ENGINE = "django_redis_sessions.backend"
SESSION_REDIS = {
    # Some of the nodes, in case one is away when a process starts.
    "URL": "redis+cluster://one.example.com:6379,two.example.com:6379,three.example.com:6379",
    "OPTIONS": {"username": "django", "password": os.environ["SESSION_REDIS_PASSWORD"]},
    # A sign-in counts when the replica of its master has it.
    "WAIT_REPLICAS": 1,
}
