"""How is a record fetched before anybody asks for it?"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Generic, TypeVar

T = TypeVar("T")


class RecordAhead(Generic[T]):
    """A record on its way to the running loop, for the session with ``session_key``.

    Nobody needs to wait for it: an error that nobody asked about is dropped, and a request that is
    cancelled leaves the round trip to finish by itself.
    """

    def __init__(self, session_key: str, reading: Coroutine[None, None, T]) -> None:
        self.session_key = session_key
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(reading)
        self._task.add_done_callback(_look_at_error)

    def can_block(self) -> bool:
        """Whether this is another thread than the loop's, which would wait for itself."""
        try:
            return asyncio.get_running_loop() is not self._loop
        except RuntimeError:
            return not self._loop.is_closed()

    def result(self) -> T:
        """The record; waits for it in a thread that ``can_block()``."""
        return asyncio.run_coroutine_threadsafe(self.aresult(), self._loop).result()

    async def aresult(self) -> T:
        """Async twin of ``result()``, for the loop."""
        return await asyncio.shield(self._task)


def _look_at_error(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()
