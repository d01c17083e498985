"""What does it mean to load, save, rotate or end one session?

The rules of the session store, as operations on one object that holds a session key, the data and
the baseline it was loaded as. Knows nothing of Django: ``backend`` puts Django's face on it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from random import random
from time import time
from typing import Any, NamedTuple, TypeVar

from django_redis_sessions import keys, operations, records
from django_redis_sessions.configuration import CONFLICTS
from django_redis_sessions.errors import (
    CorruptRecord,
    SessionConflict,
    SessionEnded,
    SessionKeyTaken,
    SessionStoreError,
    SessionStoreRefused,
    SessionStoreUnavailable,
)
from django_redis_sessions.merging import USER_ID, AnotherUsersSession, merge
from django_redis_sessions.operations import Move, Operation, Outcome, Pause
from django_redis_sessions.records import Header
from django_redis_sessions.store import Store

#: So many rivals in a row are no coincidence: something writes this session in a loop.
ATTEMPTS = 100
# From the third conflict on, rivals get out of each other's way for a random time that grows up to this.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
#: Two random session keys never meet; after so many collisions something else is wrong.
CREATE_ATTEMPTS = 5

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")
_suspicious = logging.getLogger("django.security.SuspiciousSession")


class Baseline(NamedTuple):
    """What was last known to be stored; ``header`` and ``payload`` are None if it could not be read."""

    revision: bytes
    header: Header | None = None
    payload: bytes | None = None


class StoredSession(ABC):
    """One session in memory, and the operations between it and its record.

    ``_session_key`` and ``_session_cache`` (absent until loaded) are Django's names for the key
    and the data.
    """

    _session_key: str | None
    _session_cache: dict[str, Any]

    #: What to do when somebody else has saved the session meanwhile: "merge", "overwrite" or
    #: "strict"; None leaves it to the ``CONFLICT`` setting.
    on_conflict: str | None = None

    #: Whether the data is missing because Redis could not be reached when it was asked for.
    is_unavailable = False

    _baseline: Baseline | None = None
    # Made by this object: its cookie has not come back yet.
    _is_new = False

    Ended: type[SessionEnded] = SessionEnded
    Conflict: type[SessionConflict] = SessionConflict
    KeyTaken: type[SessionKeyTaken] = SessionKeyTaken

    # What the surroundings provide

    @property
    @abstractmethod
    def _store(self) -> Store:
        """Where the session is kept."""

    @abstractmethod
    def _dumps(self, data: Any) -> bytes:
        """Bytes for ``data``, or for one value of it."""

    @abstractmethod
    def _loads(self, payload: bytes, serializer: int) -> Any:
        """Read what ``_dumps()`` of this or another serializer has written; ``CorruptRecord`` if impossible."""

    @property
    @abstractmethod
    def _serializer_tag(self) -> int:
        """What the header says about ``_dumps()``."""

    @abstractmethod
    def _idle_life(self, data: dict[str, Any]) -> float:
        """Seconds that a session with this data may lie idle."""

    @abstractmethod
    def _new_session_key(self) -> str:
        """A random session key."""

    @property
    def _follows_moves(self) -> bool:
        """Whether sessions may have moved to another key without their visitor knowing."""
        return False

    @abstractmethod
    def _changed(self) -> None:
        """The visitor has to be told the session key again."""

    @abstractmethod
    def _extended(self) -> None:
        """Reading has extended the session's life."""

    # Operations

    def _reading(self) -> Operation[bytes | None]:
        """The record under the session key; changes nothing here, so it may go on beside other work."""
        return operations.read(self._store.keys, self._session_key)

    def _loading(self, reading: Operation[bytes | None]) -> Operation[dict[str, Any]]:
        """The data that ``reading`` finds; without a stored session ``{}``, and the session key is taken away."""
        record = yield from reading
        if record is None and self._follows_moves and (yield from self._following()):
            # Whoever still has the old key needs the new one before the address is gone.
            self._changed()
            record = yield from operations.read(self._store.keys, self._session_key)
        baseline, data = self._opened(record) if record is not None else (None, {})
        if record is None or self._is_over(baseline):
            self._session_key, baseline, data = None, None, {}
        if not hasattr(self, "_session_cache"):
            self._baseline = baseline
            may_extend = self._store.lifetimes.are_extended_on_read
            if may_extend and baseline is not None and baseline.header is not None:
                yield from self._extending(baseline, baseline.header, data)
        return data

    def _saving(self, session_key: str | None, must_create: bool) -> Operation[None]:
        """``session_key`` is the one before the data was loaded: a miss then has taken it away."""
        if session_key is None:
            yield from self._creating()
        elif must_create:
            yield from self._creating_under(session_key)
        elif self._session_key is None:
            raise self.Ended
        else:
            yield from self._replacing(self._policy)

    def _creating(self) -> Operation[None]:
        """Store the data under a new key."""
        for _ in range(CREATE_ATTEMPTS):
            session_key = self._new_session_key()
            try:
                yield from self._creating_under(session_key)
            except SessionKeyTaken:
                continue
            self._session_key = session_key
            self._changed()
            return
        raise SessionStoreRefused("No unused session key was found. Check the source of randomness.")

    def _deleting(self, session_key: str | None) -> Operation[None]:
        """End the session with this key, wherever it may have moved to."""
        was_there = yield from self._durably(operations.delete(self._store.keys, session_key))
        if not was_there and self._follows_moves:
            moved = yield from operations.follow(self._store.keys, session_key)
            yield from self._durably(operations.delete(self._store.keys, moved))

    def _cycling(self, leaves_address: bool) -> Operation[None]:
        """Move to a new key. Without a stored session an anonymous visitor starts anew, a login never does."""
        if self._session_key is None:
            yield from self._creating()
            return
        for attempt in range(ATTEMPTS):
            yield from self._making_way(attempt)
            baseline = self._baseline
            move = Move(self._session_key, self._new_session_key(), leaves_address)
            payload, header = self._dumps(self._session_cache), self._header(self._session_cache)
            if header.ttl == 0:
                yield from operations.delete(self._store.keys, move.old)
                outcome: Outcome | bytes = Outcome.DONE
            else:
                # Both keys in one script, where they are on one server.
                cycle = (
                    operations.cycle_between_slots if self._store.connections.is_cluster else operations.cycle
                )
                record = self._store.codec.seal(payload, header)
                revision = baseline.revision if baseline else b""
                cycling = cycle(self._store.keys, move, revision, record, header.ttl)
                # At a sign-in the final save waits for the replicas, and for this write with it.
                outcome = yield from (self._durably(cycling) if header.user else cycling)
                header = records.header_of(record)
            if outcome is Outcome.DONE:
                self._session_key = move.new
                self._baseline = Baseline(header.revision, header, payload)
                self._changed()
                return
            if outcome is Outcome.GONE:
                if self._follows_moves and (yield from self._following()):
                    # Another request has moved the session for the same reason: stay with its key.
                    yield from self._replacing("merge")
                    self._changed()
                elif baseline is not None and baseline.header is not None and baseline.header.user:
                    raise self.Ended
                else:
                    yield from self._creating()
                return
            if outcome is not Outcome.TAKEN:
                self._settle(outcome, self._policy)
        raise self._too_many_rivals()

    def _mutating(self, key: str, function: Callable[[Any], Any], default: Any) -> Operation[Any]:
        """Apply ``function`` to the stored value, and store the result before anybody else changes it."""
        if self._session_key is None:
            value = self._session_cache[key] = function(self._session_cache.get(key, default))
            self._changed()
            return value
        if self._baseline is None:
            yield from self._finding_baseline()
        for attempt in range(ATTEMPTS):
            yield from self._making_way(attempt)
            data = self._baseline_data()
            value = data[key] = function(data.get(key, default))
            outcome = yield from self._writing(data, "merge")
            if outcome is Outcome.DONE:
                self._session_cache[key] = value
                return value
            yield from self._after(outcome, "merge")
        raise self._too_many_rivals()

    # Parts of operations

    def _creating_under(self, session_key: str) -> Operation[None]:
        payload, header = self._dumps(self._session_cache), self._header(self._session_cache, is_new=True)
        if header.ttl == 0:
            # Its life is over: there is nothing to store, but a taken key is still an error.
            if (yield from operations.exists(self._store.keys, session_key)):
                raise self.KeyTaken
            return
        record = self._store.codec.seal(payload, header)
        creating = operations.create(self._store.keys, session_key, record, header.ttl)
        if not (yield from (self._durably(creating) if header.user else creating)):
            raise self.KeyTaken
        header = records.header_of(record)
        self._baseline = Baseline(header.revision, header, payload)
        self._is_new = True

    def _replacing(self, policy: str) -> Operation[None]:
        for attempt in range(ATTEMPTS):
            yield from self._making_way(attempt)
            outcome = yield from self._writing(self._session_cache, policy)
            if outcome is Outcome.DONE:
                return
            yield from self._after(outcome, policy)
        raise self._too_many_rivals()

    def _writing(self, data: dict[str, Any], policy: str) -> Operation[Outcome | bytes]:
        """Store ``data`` if the baseline is still what is stored; if it equals the baseline, extend its life only."""
        assert self._session_key is not None
        baseline, names = self._baseline, self._store.keys
        payload, header = self._dumps(data), self._header(data)
        if header.ttl == 0:
            # Its time is up, which is nobody's fault: the second save after that is as fine as the first.
            yield from operations.delete(names, self._session_key)
            return Outcome.DONE
        if (
            baseline is not None
            and payload == baseline.payload
            and self._is_same_kind(baseline.header, header)
        ):
            return (yield from operations.touch(names, self._session_key, baseline.revision, header))
        record = self._store.codec.seal(payload, header)
        if baseline is None or policy == "overwrite":
            writing = operations.replace(names, self._session_key, record, header)
        else:
            writing = operations.save(names, self._session_key, baseline.revision, record, header)
        changes_user = baseline is None or baseline.header is None or baseline.header.user != header.user
        outcome = yield from (self._durably(writing) if changes_user else writing)
        if outcome is Outcome.DONE:
            header = records.header_of(record)
            self._baseline = Baseline(header.revision, header, payload)
        return outcome

    def _after(self, outcome: Outcome | bytes, policy: str) -> Operation[None]:
        """Make another attempt possible, or raise."""
        if isinstance(outcome, bytes):
            self._settle(outcome, policy)
        elif not (self._follows_moves and (yield from self._following())):
            raise self.Ended

    @staticmethod
    def _making_way(attempt: int) -> Operation[None]:
        if attempt > 2:
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 3))
            yield Pause(random() * longest)  # noqa: S311 - not a secret

    def _durably(self, operation: Operation[T]) -> Operation[T]:
        """``operation``, which is part of a login or a logout, kept by as many replicas as the project wants."""
        settings = self._store.settings
        if not settings.wait_replicas:
            return operation
        # Within the time that the connection waits for an answer.
        return operations.replicated(operation, settings.wait_replicas, int(settings.timeout * 800))

    def _following(self) -> Operation[bool]:
        """Take over the key that the session has moved to; False if it has not moved."""
        moved = yield from operations.follow(self._store.keys, self._session_key)
        if moved is None:
            return False
        self._session_key = moved
        return True

    def _extending(self, baseline: Baseline, header: Header, data: dict[str, Any]) -> Operation[None]:
        """Give a session that is read the life it would be saved with, if that is due now."""
        extended = self._header(data)
        if extended.ttl == 0 or not self._store.lifetimes.extends_on_read(
            touched=header.touched,
            given=header.ttl,
            possible=extended.ttl,
            now=extended.touched,
            is_anonymous=header.is_anonymous,
        ):
            return
        assert self._session_key is not None
        try:
            outcome = yield from operations.touch(
                self._store.keys, self._session_key, baseline.revision, extended
            )
        except SessionStoreError as error:
            # The session was read; that its life was not extended can be made good by the next request.
            _log.warning("A session's life was not extended: %s", error)
        else:
            if outcome is Outcome.DONE:
                self._extended()

    def _finding_baseline(self) -> Operation[None]:
        record = yield from operations.read(self._store.keys, self._session_key)
        if record is None:
            raise self.Ended
        self._baseline, _ = self._opened(record)

    # Decisions

    @property
    def _policy(self) -> str:
        policy = self.on_conflict or self._store.settings.conflict
        if policy not in CONFLICTS:
            raise ValueError(
                f"on_conflict is {policy!r}, but must be one of {', '.join(map(repr, CONFLICTS))}."
            )
        return policy

    def _opened(self, record: bytes) -> tuple[Baseline, dict[str, Any]]:
        """What a record says; ``{}`` and a warning for one that cannot be read."""
        try:
            header, payload = self._store.codec.open(record)
            data = self._loads(payload, header.serializer)
            if not isinstance(data, dict):
                raise CorruptRecord("its body is no dict")
        except CorruptRecord as error:
            handle = keys.digest(self._session_key or "")
            _suspicious.warning("Session data corrupted (session %s): %s", handle, error)
            return Baseline(records.revision_of(record)), {}
        return Baseline(header.revision, header, payload), data

    def _is_over(self, baseline: Baseline | None) -> bool:
        if baseline is None or baseline.header is None:
            return False
        return self._store.lifetimes.is_over(baseline.header.created, int(time()))

    def _header(self, data: dict[str, Any], is_new: bool = False) -> Header:
        """The header to store ``data`` with; a ttl of 0 says that its life is over."""
        if self.is_unavailable:
            # Written now, it would replace a session that nobody has seen.
            raise SessionStoreUnavailable(
                "The session was not read during an outage, so it cannot be written."
            )
        now = int(time())
        user_id = data.get(USER_ID)
        user = b"" if user_id is None else keys.user_marker(str(user_id))
        known = self._baseline.header if self._baseline is not None else None
        # A sign-in begins a life of its own.
        created = known.created if known is not None and known.user == user else now
        ttl = self._store.lifetimes.ttl(
            self._idle_life(data),
            created=created,
            now=now,
            is_anonymous=not user,
            is_new=is_new or self._is_new,
        )
        return Header(created=created, touched=now, ttl=ttl or 0, user=user, serializer=self._serializer_tag)

    @staticmethod
    def _is_same_kind(stored: Header | None, header: Header) -> bool:
        return stored is not None and (stored.user, stored.serializer) == (header.user, header.serializer)

    def _baseline_data(self) -> dict[str, Any]:
        baseline = self._baseline
        if baseline is None or baseline.header is None or baseline.payload is None:
            return {}
        data: dict[str, Any] = self._loads(baseline.payload, baseline.header.serializer)
        return data

    def _settle(self, record: bytes, policy: str) -> None:
        """Make what somebody else has stored the baseline, with this side's changes on top of it."""
        if policy == "strict":
            raise self.Conflict
        baseline, theirs = self._opened(record)
        if policy == "merge":
            mine = self._loads(self._dumps(self._session_cache), self._serializer_tag)
            try:
                merged = merge(self._baseline_data(), mine, theirs, self._encoded)
            except AnotherUsersSession:
                raise self.Ended from None
            self._adopt(merged, mine)
        self._baseline = baseline

    def _adopt(self, merged: dict[str, Any], mine: dict[str, Any]) -> None:
        """Bring in what came from elsewhere; the view may still hold on to the rest."""
        cache = self._session_cache
        for key in [key for key in cache if key not in merged]:
            del cache[key]
        for key, value in merged.items():
            if key not in cache or key not in mine or self._encoded(value) != self._encoded(mine[key]):
                cache[key] = value

    def _encoded(self, value: Any) -> bytes:
        return self._dumps({"": value})

    def _too_many_rivals(self) -> SessionStoreRefused:
        return SessionStoreRefused(
            f"The session was saved by others {ATTEMPTS} times in a row while this one tried. "
            f"Look for a client that repeats its requests."
        )
