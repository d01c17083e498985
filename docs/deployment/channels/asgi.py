"""HTTP by Django, WebSockets by Channels, both with the session of the same cookie."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# Before the consumers are imported: they may import models.
django_application = get_asgi_application()

from mysite.consumers import Inbox  # noqa: E402

# The validator refuses other sites' pages, which a browser lets connect with this site's cookie.
# AuthMiddlewareStack gives the scope its cookies, its session and its user, in this order.
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("inbox/", Inbox.as_asgi())]))
        ),
    }
)
