"""A WebSocket for people who are signed in, and for no longer than they are."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from django_redis_sessions.revocations import ClosesWithSession


class Inbox(ClosesWithSession, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        if self.scope["user"].is_authenticated:
            await self.accept()
        else:
            await self.close(4401)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"for": self.scope["user"].get_username(), "said": content})
