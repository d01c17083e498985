"""What do gunicorn and uvicorn load? ``BENCHMARK_PROTOCOL`` says for which of them."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

application = get_asgi_application() if os.environ["BENCHMARK_PROTOCOL"] == "asgi" else get_wsgi_application()
