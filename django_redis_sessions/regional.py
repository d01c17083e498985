"""Where does one session live, where there may be several regions, and how does it get to another?

On top of ``stored``: the session's key says in which of the project's ``Stores`` it is, and each command goes
to where the session is by then. Without regions that is the one store there is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from django_redis_sessions import operations
from django_redis_sessions.operations import Operation
from django_redis_sessions.store import Store, Stores
from django_redis_sessions.stored import StoredSession

T = TypeVar("T")


class RegionalSession(StoredSession):
    """A session that lives in one of several regions."""

    #: Tells in which region a new session is to live; None: at home.
    place: Callable[[], str | None] | None = None

    # Where a session without a key will be stored; None: nobody has said so yet.
    _region: str | None = None

    @property
    @abstractmethod
    def _stores(self) -> Stores:
        """Where the project keeps its sessions."""

    @property
    def region(self) -> str | None:
        """The name of the region that the session lives in, or will; None where there are none."""
        return self._store.region

    @property
    def _store(self) -> Store:
        """Where the project keeps this session."""
        stores = self._stores
        if not stores.by_region:
            return stores.home
        return stores.named(self._region) if self._session_key is None else stores.of_key(self._session_key)

    def _store_of(self, session_key: str) -> Store:
        return self._stores.of_key(session_key)

    @property
    def _follows_moves(self) -> bool:
        store = self._store
        return store.keys.are_moving or store.region is not None

    def _find_place(self) -> None:
        """Ask where a session is to live that is not stored yet."""
        if self._session_key is None and self._region is None and self.place is not None:
            self._region = self._stores.named(self.place()).region

    def _other_region(self, region: str) -> Store | None:
        """Where the session is to be moved; None if it is there, or will be without being moved."""
        there = self._stores.named(region)
        if self._session_key is None:
            self._region = there.region
        return None if there is self._store else there

    def _prepared(self, name: str, operation: Operation[T]) -> Operation[T]:
        """``operation``, known as ``name``, ready to be performed: where the session lives, and measured."""
        store = self._store
        if store.region is not None:
            operation = operations.through(lambda: self._store.connections, operation)
        if store.metrics is not None:
            operation = self._measured(store.metrics, name, operation)
        return operation
