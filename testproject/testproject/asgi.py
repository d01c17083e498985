"""What does an ASGI server run?  `uvicorn --app-dir testproject testproject.asgi:application`."""

import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

# Static files reach the browser through a blocking view; that is slow under ASGI, and good enough for a demo.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

application = get_asgi_application()
