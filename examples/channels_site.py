"""A WebSocket, in Channels, that is open for as long as its visitor is signed in on the Django site.

    pip install 'django-redis-sessionstore[examples]' 'uvicorn[standard]'
    SESSIONS_URL=redis://localhost:6379/0 uvicorn --app-dir examples channels_site:app

Channels is Django, so this takes the engine and not the client; it has no database, and no users but their ids.
"""

import os
from typing import Any

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.conf import settings
from django.urls import path

from django_redis_sessions.revocations import CLOSE_CODE, ClosesWithSession

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],  # whose pages may open a socket: the site's own
    SESSION_ENGINE="django_redis_sessions.backend",
    SESSION_REDIS={
        "URL": os.environ["SESSIONS_URL"],
        "PREFIX": os.environ.get("SESSIONS_PREFIX", "session"),
    },
)
django.setup()


class Inbox(ClosesWithSession, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        session = self.scope["session"]
        user_id = await session.aget("_auth_user_id")
        if user_id is None:
            await self.close(CLOSE_CODE)
            return
        await self.accept()
        await self.send_json({"user": user_id, "cart": await session.aget("cart", {})})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"said": content})


app = ProtocolTypeRouter(
    {
        "websocket": AllowedHostsOriginValidator(
            SessionMiddlewareStack(URLRouter([path("inbox", Inbox.as_asgi())]))
        )
    }
)
