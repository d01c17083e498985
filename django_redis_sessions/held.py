"""What does one session in memory say, and what becomes of it in a record?

The session key, the data and the baseline it was loaded as, and every decision about them that needs nobody's
answer: the header and the size of a record, the life that is left, whose it is, what is merged. ``stored`` has
the operations. Knows nothing of Django: ``backend`` puts Django's face on it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter, time
from typing import Any, NamedTuple, TypeVar

from django_redis_sessions import keys, records, sizes
from django_redis_sessions.announcements import Revoked, Rotated
from django_redis_sessions.configuration import CONFLICTS
from django_redis_sessions.errors import (
    CorruptRecord,
    SessionConflict,
    SessionEnded,
    SessionKeyTaken,
    SessionStoreUnavailable,
    SessionTooLarge,
)
from django_redis_sessions.expiry import index_score
from django_redis_sessions.keys import Keys
from django_redis_sessions.merging import USER_ID, AnotherUsersSession, merge
from django_redis_sessions.metrics import Careful
from django_redis_sessions.operations import Entry, Located, Operation
from django_redis_sessions.records import Header
from django_redis_sessions.store import Store

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")
_suspicious = logging.getLogger("django.security.SuspiciousSession")


class Baseline(NamedTuple):
    """What was last known to be stored; ``header`` and ``payload`` are None if it could not be read."""

    revision: bytes
    header: Header | None = None
    payload: bytes | None = None


class Created(NamedTuple):
    """A session has begun: a visitor's first, or a user's, by a sign-in."""

    handle: str
    user_id: str | None


class HeldSession(ABC):
    """One session in memory, and what is made of it for its record.

    ``_session_key`` and ``_session_cache`` (absent until loaded) are Django's names for the key
    and the data.
    """

    _session_key: str | None
    _session_cache: dict[str, Any]

    #: What to do when somebody else has saved the session meanwhile: "merge", "overwrite" or
    #: "strict"; None leaves it to the ``CONFLICT`` setting.
    on_conflict: str | None = None

    #: Tells whose budget a new anonymous session comes from, where there is one: the visitor's network.
    network: Callable[[], str | None] | None = None

    #: Whether the data is missing because Redis could not be reached when it was asked for.
    is_unavailable = False

    _baseline: Baseline | None = None
    # The session key under which the session was found by another name than its first, and the keys that
    # give that name.
    _found: tuple[str, Keys] | None = None
    # Made by this object: its cookie has not come back yet.
    _is_new = False
    # When the request began that this object belongs to, in microseconds since 1970: a revocation
    # since then is meant for whatever it may sign in.
    _began_us = 0

    # What has happened to the session and is not told yet.
    _news: list[Created | Rotated | Revoked]
    # When the session was last seen as it was loaded; None once this object has stored it.
    _last_seen: int | None = None

    Ended: type[SessionEnded] = SessionEnded
    Conflict: type[SessionConflict] = SessionConflict
    KeyTaken: type[SessionKeyTaken] = SessionKeyTaken

    # What the surroundings provide

    @property
    @abstractmethod
    def _store(self) -> Store:
        """Where the session is kept."""

    def _store_of(self, session_key: str) -> Store:
        """Where the session with this key would be kept; in one place, unless the surroundings know several."""
        return self._store

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

    def _new_session_key(self) -> str:
        """A random session key."""
        return self._store.keys.new()

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

    def outlive(self, revocation_us: int) -> None:
        """The user's sessions were revoked by this one's own request: it may still sign somebody in."""
        self._began_us = max(self._began_us, revocation_us + 1)

    # Decisions

    def _noted(self, located: Located | None) -> bytes | None:
        """The record that was found; from now on the session goes by the name by which it was."""
        if located is None:
            return None
        session_key, names = self._session_key, self._store.keys
        assert session_key is not None
        usual = not names.are_moving or names.name(session_key) == located.name
        self._found = None if usual else (session_key, names.by(session_key, located.name))
        return located.record

    def _handle(self, session_key: str) -> str:
        """The public handle of the session with this key."""
        return self._store_of(session_key).keys.handle(session_key)

    @property
    def _keys(self) -> Keys:
        """The names in Redis, as the session was found by them."""
        if self._found is not None and self._found[0] == self._session_key:
            return self._found[1]
        return self._store.keys

    @property
    def _name(self) -> str:
        """What stands for the session in Redis now."""
        assert self._session_key is not None
        return self._keys.name(self._session_key)

    @property
    def _is_outdated(self) -> bool:
        """Whether the session is kept in another way than the first of ``KEYS`` says."""
        names = self._store.keys
        if not names.are_moving or self._session_key is None:
            return False
        return names.lasting(self._session_key) != self._name

    @property
    def _policy(self) -> str:
        policy = self.on_conflict or self._store.settings.conflict
        if policy not in CONFLICTS:
            raise ValueError(
                f"on_conflict is {policy!r}, but must be one of {', '.join(map(repr, CONFLICTS))}."
            )
        return policy

    def _sealed(self, payload: bytes, header: Header, session_key: str, *, is_new: bool = False) -> bytes:
        record = self._fitting(payload, header, session_key, is_new=is_new)
        self._measure("wrote", len(record))
        return record

    def _fitting(self, payload: bytes, header: Header, session_key: str, *, is_new: bool = False) -> bytes:
        """The record, which is no larger than it may be; ``SessionTooLarge`` without one."""
        digest = self._handle(session_key)
        known = self._baseline.payload if self._baseline is not None else None
        if len(payload) <= self._store.sizes.harmless or (known is not None and len(payload) <= len(known)):
            # What is stored already may stay as large as it is: it must be possible to sign out, to move to
            # another key, and to take something out.
            return self._store.codec.seal(payload, header, digest)
        return self._weighed(payload, header, digest, is_new=is_new)

    @property
    def _is_too_large(self) -> bool:
        """Whether the session as it was loaded is larger than one may become."""
        sizes, baseline = self._store.sizes, self._baseline
        if baseline is None or baseline.payload is None or baseline.header is None:
            return False
        if len(baseline.payload) <= sizes.harmless:
            return False
        return len(self._store.codec.seal(baseline.payload, baseline.header, "")) > sizes.limit

    def _weighed(self, payload: bytes, header: Header, digest: str, *, is_new: bool) -> bytes:
        allowed, handle = self._store.sizes, None if is_new else digest
        if len(payload) > allowed.largest_payload:
            # It would be taken for a bomb, and refused, when it is loaded again.
            parts = self._largest_parts(payload, header)
            limit, measure = allowed.largest_payload, "before compression"
            raise SessionTooLarge(handle, len(payload), limit, parts, measure)
        record = self._store.codec.seal(payload, header, digest)
        if len(record) > allowed.limit:
            parts = self._largest_parts(payload, header)
            raise SessionTooLarge(handle, len(record), int(allowed.limit), parts)
        if len(record) > allowed.remarkable and allowed.is_new(handle or ""):
            _log.warning(
                "The session %s takes %s bytes as stored, of %s that MAX_SIZE allows. "
                "Largest in it, in bytes before compression: %s",
                handle or "that is being made",
                f"{len(record):,}",
                f"{int(allowed.limit):,}",
                sizes.in_words(self._largest_parts(payload, header)),
                extra={"session_handle": handle, "session_size": len(record)},
            )
        return record

    def _largest_parts(self, payload: bytes, header: Header) -> list[tuple[str, int]]:
        return sizes.largest_parts(self._loads(payload, header.serializer), self._dumps)

    def _know(self, record: bytes, payload: bytes) -> None:
        """This record, which was made of ``payload``, is what is stored."""
        header = records.header_of(record)
        self._baseline = Baseline(header.revision, header, payload)

    def unsealed(self, record: bytes, handle: str) -> tuple[Header, bytes, dict[str, Any]]:
        """What stands in a record that was stored for the session with this handle; ``CorruptRecord`` if nothing."""
        header, payload = self._store.codec.open(record, handle)
        data = self._loads(payload, header.serializer)
        if not isinstance(data, dict):
            raise CorruptRecord("its body is no dict")
        return header, payload, data

    def _opened(self, record: bytes) -> tuple[Baseline, dict[str, Any]]:
        """What a record says; ``{}`` and a warning for one that cannot be read."""
        self._measure("read", len(record))
        # For the name that it was stored under, which need not be the first that the key may have.
        handle = self._keys.handle(self._session_key or "")
        try:
            header, payload, data = self.unsealed(record, handle)
        except CorruptRecord as error:
            _suspicious.warning(
                "Session data corrupted (session %s): %s",
                handle,
                error,
                extra={"session_handle": handle, "reason": error.reason},
            )
            self._measure("discarded", error.reason)
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
        user_id = self._owner(data)
        user = b"" if user_id is None else keys.user_marker(user_id)
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

    @property
    def _has_index(self) -> bool:
        return self._store.settings.user_index

    @staticmethod
    def _owner(data: dict[str, Any]) -> str | None:
        """The id of the user who is signed in."""
        user_id = data.get(USER_ID)
        return None if user_id is None else str(user_id)

    def _entry(self, header: Header, user_id: str | None) -> Entry | None:
        """What to note in the user's index; None if there is no user, or no index."""
        if user_id is None or not self._has_index:
            return None
        return Entry(
            user=header.user,
            user_id=user_id,
            score=index_score(header.touched, header.ttl),
            now=header.touched,
            began_us=self._began_us,
            limit=self._store.settings.max_sessions_per_user,
        )

    def _signed_in_before(self, entry: Entry | None, header: Header) -> Entry | None:
        """``entry`` for a session that arrives as it is: a revocation since its sign-in is meant for it.

        Where it comes from, the same revocation may not have reached it yet.
        """
        if entry is None or header.created >= self._began_us // 1_000_000:
            return entry
        # Nobody knows when in that second it was, and whoever signs in after a revocation may do so at once.
        return replace(entry, began_us=header.created * 1_000_000 + 999_999)

    @staticmethod
    def _is_noted(known: Header | None, header: Header) -> bool:
        """Whether the user's index says already what it should."""
        return (
            known is not None
            and known.user == header.user
            and index_score(known.touched, known.ttl) >= index_score(header.touched, header.ttl)
        )

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
        if self._baseline is not None and self._baseline.revision == records.revision_of(record):
            # It is on its way from one name to another, and nobody has changed it.
            return
        if policy == "strict":
            self._measure("conflicted", "refused")
            raise self.Conflict
        baseline, theirs = self._opened(record)
        if policy == "merge":
            mine = self._loads(self._dumps(self._session_cache), self._serializer_tag)
            try:
                merged = merge(self._baseline_data(), mine, theirs, self._encoded)
            except AnotherUsersSession:
                self._measure("conflicted", "refused")
                raise self.Ended from None
            self._adopt(merged, mine)
        self._measure("conflicted", "merged" if policy == "merge" else "overwritten")
        self._baseline = baseline

    def _measured(self, metrics: Careful, name: str, operation: Operation[T]) -> Operation[T]:
        """``operation``, which tells how it went; the same for whoever performs it."""
        began, outcome = perf_counter(), "cancelled"
        try:
            result = yield from operation
            outcome = "missing" if name == "load" and self._session_key is None else "done"
            return result
        except Exception as error:  # those of a project's function too, which mutate() calls
            outcome = type(error).__name__
            if isinstance(error, SessionStoreUnavailable):
                metrics.tell("unavailable", outcome)
            raise
        finally:
            metrics.tell("operated", name, perf_counter() - began, outcome)

    def _measure(self, event: str, *arguments: Any) -> None:
        """Tell the project's ``METRICS``, if it has any."""
        if self._store.metrics is not None:
            self._store.metrics.tell(event, *arguments)

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
