"""What gunicorn takes from here: gunicorn mysite.wsgi --config gunicorn.conf.py"""

bind = "0.0.0.0:8000"

# Each process keeps connections of its own, at most one for each of its threads: 4 x 8 = 32 at the server.
workers = 4
threads = 8

# The site is imported once and then forked, which saves memory. No connection is shared by it:
# a forked worker opens its own.
preload_app = True

# A worker that leaks goes before it hurts, and not all of them at the same moment.
max_requests = 10_000
max_requests_jitter = 1_000

# Longer than the session store ever waits for Redis (about four seconds with the default TIMEOUT and RETRIES),
# so that an outage is answered with 503 and not with a killed worker.
timeout = 30
graceful_timeout = 30
