"""Who waits for Redis?

``run`` and ``arun`` perform an operation, blocking and awaiting. They are the same loop; what
takes time is in the client they are given, which raises this package's errors.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Command, Operation

T = TypeVar("T")


class Client(Protocol):
    """What ``run`` needs: one round trip for one command, or for a list of them."""

    def execute(self, command: Command | list[Command]) -> Any:
        """The raw reply; for a list, a list whose items may be errors."""


class AsyncClient(Protocol):
    """What ``arun`` needs: the awaitable twin of ``Client``."""

    async def execute(self, command: Command | list[Command]) -> Any:
        """Async twin of ``Client.execute()``."""


def run(client: Client, operation: Operation[T]) -> T:
    """Perform ``operation``, blocking, and give its result."""
    try:
        command = operation.send(None)
        while True:
            try:
                reply = client.execute(command)
            except SessionStoreError as error:
                command = operation.throw(error)
            else:
                command = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic


async def arun(client: AsyncClient, operation: Operation[T]) -> T:
    """Async twin of ``run()``."""
    try:
        command = operation.send(None)
        while True:
            try:
                reply = await client.execute(command)
            except SessionStoreError as error:
                command = operation.throw(error)
            else:
                command = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic
