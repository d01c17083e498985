import os

SESSION_ENGINE = "django_redis_sessions.backend"
SESSION_REDIS = {
    # The host is compared with the names in the server's certificate.
    "URL": "rediss://redis.example.com:6380/0",
    "OPTIONS": {
        "username": "django",
        "password": os.environ["SESSION_REDIS_PASSWORD"],
        "ssl_ca_certs": "/etc/mysite/ca.crt",
        "ssl_certfile": "/etc/mysite/client.crt",
        "ssl_keyfile": "/etc/mysite/client.key",
    },
}
