"""Races as plain code: a rival acts before the n-th command of a session, without threads or sleeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest

from django_redis_sessions.connections import AwaitingClient, BlockingClient
from django_redis_sessions.store import Store


class Race:
    """Counts the commands a store's clients send, and lets ``by()`` act before number ``before``."""

    def __init__(self, store: Store, by: Callable[[], Any], before: int, patch: pytest.MonkeyPatch) -> None:
        self.sent = 0
        self.happened = False
        self._by = by
        self._before = before
        self._patch = patch
        self._is_rivals_turn = False

    def __enter__(self) -> Self:
        blocking, awaiting = BlockingClient.execute, AwaitingClient.execute

        def execute(client: BlockingClient, command: Any) -> Any:
            self._count()
            return blocking(client, command)

        async def aexecute(client: AwaitingClient, command: Any) -> Any:
            self._count()
            return await awaiting(client, command)

        self._context = self._patch.context()
        patch = self._context.__enter__()
        patch.setattr(BlockingClient, "execute", execute)
        patch.setattr(AwaitingClient, "execute", aexecute)
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def _count(self) -> None:
        if self._is_rivals_turn:
            return
        self.sent += 1
        if self.sent == self._before:
            self._is_rivals_turn = True
            try:
                self._by()
            finally:
                self._is_rivals_turn = False
            self.happened = True
