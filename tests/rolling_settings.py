"""The shop of `testproject` with values of a test's in `SESSION_REDIS`, and its secrets."""

import json
import os

from testproject.settings import *  # noqa: F403 - a deployment's settings are the shop's
from testproject.settings import DATABASES, SESSION_REDIS

SESSION_REDIS |= json.loads(os.environ["ROLLING_REDIS"])
SECRET_KEY, *SECRET_KEY_FALLBACKS = json.loads(os.environ["ROLLING_SECRETS"])
# Several processes write to one file, on a machine that may be busy. In seconds.
DATABASES["default"]["OPTIONS"] = {"timeout": 20}
