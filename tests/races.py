"""Races as plain code: a rival acts before the n-th command of a session, without threads or sleeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest

from django_redis_sessions.awaiting import AwaitingClient
from django_redis_sessions.blocking import BlockingClient
from django_redis_sessions.clusters import AwaitingCluster, BlockingCluster
from django_redis_sessions.store import Store, Stores


def watch(patch: pytest.MonkeyPatch, store: Store | Stores, see: Callable[[Any], object]) -> None:
    """Have ``see(command)`` called before each command that the clients of the store, or of several, send."""
    stores = store if isinstance(store, Stores) else [store]
    for is_cluster in {each.connections.is_cluster for each in stores}:
        _watch(
            patch,
            BlockingCluster if is_cluster else BlockingClient,
            AwaitingCluster if is_cluster else AwaitingClient,
            see,
        )


def _watch(patch: pytest.MonkeyPatch, blocking: Any, awaiting: Any, see: Callable[[Any], object]) -> None:
    execute, aexecute = blocking.execute, awaiting.execute

    def watched(client: Any, command: Any) -> Any:
        see(command)
        return execute(client, command)

    async def awatched(client: Any, command: Any) -> Any:
        see(command)
        return await aexecute(client, command)

    patch.setattr(blocking, "execute", watched)
    patch.setattr(awaiting, "execute", awatched)


class Race:
    """Counts the commands a store's clients send, and lets ``by()`` act before number ``before``."""

    def __init__(
        self, store: Store | Stores, by: Callable[[], Any], before: int, patch: pytest.MonkeyPatch
    ) -> None:
        self.sent = 0
        self.happened = False
        self._store = store
        self._by = by
        self._before = before
        self._patch = patch
        self._is_rivals_turn = False

    def __enter__(self) -> Self:
        self._context = self._patch.context()
        watch(self._context.__enter__(), self._store, self._count)
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def _count(self, command: Any) -> None:
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
