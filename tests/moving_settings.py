"""The shop of `testproject`, as far as it differs for a site that moves; all its deployments share these settings.

Database and cache are where every engine finds its sessions, so one process may follow another.
"""

import os

from testproject.settings import *  # noqa: F403 - a deployment's settings are the shop's
from testproject.settings import DATABASES, SESSION_REDIS

# As a site has it that means to leave one day: only plain keys can be exported.
SESSION_REDIS |= {"KEYS": "plain", "FALLBACK_ENGINES": [os.environ["MOVING_FROM"]]}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": SESSION_REDIS["URL"],
    },
}
# Several processes write to one file, on a machine that may be busy. In seconds.
DATABASES["default"]["OPTIONS"] = {"timeout": 20}
