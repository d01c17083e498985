"""Who waits for Redis?

``run`` and ``arun`` perform an operation, blocking and awaiting. They are the same loop; what
takes time is in the client they are given, which raises this package's errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import sleep
from typing import Any, Protocol, TypeVar

from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import (
    Aside,
    Command,
    Elsewhere,
    Masters,
    Operation,
    Pause,
    Saying,
    Through,
)

T = TypeVar("T")


class Client(Protocol):
    """What ``run`` needs: one round trip for one command, or for a list of them."""

    def execute(self, command: Command | list[Command], /) -> Any:
        """The raw reply; for a list, a list whose items may be errors of this package."""

    def nodes(self) -> Sequence[Client]:
        """A client for each server that holds keys."""


class AsyncClient(Protocol):
    """What ``arun`` needs: the awaitable twin of ``Client``."""

    async def execute(self, command: Command | list[Command], /) -> Any:
        """Async twin of ``Client.execute()``."""

    async def nodes(self) -> Sequence[AsyncClient]:
        """Async twin of ``Client.nodes()``."""


def run(client: Client, operation: Operation[T]) -> T:
    """Perform ``operation``, blocking, and give its result."""
    try:
        step = operation.send(None)
        while True:
            try:
                reply = _aside(client, step) if isinstance(step, Aside) else client.execute(step)
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
                if isinstance(step, Aside):
                    reply = await _aaside(client, step)
                else:
                    reply = await client.execute(step)
            except SessionStoreError as error:
                step = operation.throw(error)
            else:
                step = operation.send(reply)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration.value is not generic


def _aside(client: Client, step: Aside) -> Any:
    match step:
        case Pause():
            return sleep(step.seconds)
        case Masters():
            return client.nodes()
        case Saying():
            return step.server.execute(step.step)
        case Through():
            return step.connections.client().execute(step.step)
        case Elsewhere():
            return step.ask()
    raise TypeError(f"an operation yielded {step!r}")


async def _aaside(client: AsyncClient, step: Aside) -> Any:
    """Async twin of ``_aside()``."""
    match step:
        case Pause():
            return await asyncio.sleep(step.seconds)
        case Masters():
            return await client.nodes()
        case Saying():
            return await step.server.execute(step.step)
        case Through():
            return await step.connections.async_client().execute(step.step)
        case Elsewhere():
            return await step.aask()
    raise TypeError(f"an operation yielded {step!r}")
