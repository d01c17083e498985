"""Who waits for Redis?

``run`` and ``arun`` perform an operation, blocking and awaiting. They are the same loop; what
takes time is in the client they are given, which raises this package's errors.
"""

from __future__ import annotations

import asyncio
from time import sleep
from typing import Any, Protocol, TypeVar

from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command, Operation, Pause

T = TypeVar("T")


class Client(Protocol):
    """What ``run`` needs: one round trip for one command, or for a list of them."""

    def execute(self, command: Command | list[Command], /) -> Any:
        """The raw reply; for a list, a list whose items may be errors of this package."""


class AsyncClient(Protocol):
    """What ``arun`` needs: the awaitable twin of ``Client``."""

    async def execute(self, command: Command | list[Command], /) -> Any:
        """Async twin of ``Client.execute()``."""


def run(client: Client, operation: Operation[T]) -> T:
    """Perform ``operation``, blocking, and give its result."""
    try:
        step = operation.send(None)
        while True:
            try:
                if isinstance(step, Pause):
                    sleep(step.seconds)
                    reply = None
                else:
                    reply = client.execute(step)
            except SessionStoreError as error:
                step = operation.throw(error)
            else:
                step = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic


async def arun(client: AsyncClient, operation: Operation[T]) -> T:
    """Async twin of ``run()``."""
    try:
        step = operation.send(None)
        while True:
            try:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    reply = None
                else:
                    reply = await client.execute(step)
            except SessionStoreError as error:
                step = operation.throw(error)
            else:
                step = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic
