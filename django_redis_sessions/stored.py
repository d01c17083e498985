"""What does it mean to load, save, rotate or end one session?

The rules of the session store, as operations on one object that holds a session key, the data and
the baseline it was loaded as; ``held`` has what is decided without asking anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from random import random
from time import time_ns
from typing import Any, TypeVar

from django_redis_sessions import announcements, indexes, keys, operations, records
from django_redis_sessions.announcements import Revoked, Rotated
from django_redis_sessions.arrivals import Arrival, fingerprint
from django_redis_sessions.errors import (
    SessionBudgetSpent,
    SessionKeyTaken,
    SessionLimitReached,
    SessionStoreError,
    SessionStoreRefused,
)
from django_redis_sessions.expiry import LONGEST_TTL
from django_redis_sessions.held import Baseline, Created, HeldSession
from django_redis_sessions.operations import (
    Budget,
    Entry,
    Full,
    Located,
    Move,
    Operation,
    Outcome,
    Pause,
    Result,
    through,
)
from django_redis_sessions.records import Header
from django_redis_sessions.relocations import There, has_left, relocate
from django_redis_sessions.store import Store

#: So many rivals in a row are no coincidence: something writes this session in a loop.
ATTEMPTS = 100
# From the third conflict on, rivals get out of each other's way for a random time that grows up to this.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
#: Two random session keys never meet; after so many collisions something else is wrong.
CREATE_ATTEMPTS = 5

#: Why a session is not stored whose visitor's address has begun too many.
BUDGET_SPENT = "its address has begun too many"
#: Why a session is not used that has lived as long as ``ABSOLUTE_TTL`` lets it.
LIFE_OVER = "its life is over"

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")


class StoredSession(HeldSession):
    """One session, and the operations between it and its record."""

    # Operations

    def _reading(self) -> Operation[Located | None]:
        """The record under the session key; changes nothing here, so it may go on beside other work."""
        return operations.locate(self._store.keys, self._session_key)

    def _loading(self, reading: Operation[Located | None]) -> Operation[dict[str, Any]]:
        """The data that ``reading`` finds; without a stored session ``{}``, and the session key is taken away."""
        located = yield from reading
        if located is None and self._follows_moves:
            located = yield from self._tracing()
        if located is None and self._session_key is not None:
            located = yield from self._arriving(self._session_key)
        record = self._noted(located)
        baseline, data = self._opened(record) if record is not None else (None, {})
        is_over = self._is_over(baseline)
        if is_over:
            self._measure("discarded", LIFE_OVER)
        if record is None or is_over:
            self._session_key, baseline, data = None, None, {}
        if not hasattr(self, "_session_cache"):
            self._baseline = baseline
            header = baseline.header if baseline is not None else None
            self._last_seen = header.touched if header is not None else None
            may_extend = self._store.lifetimes.are_extended_on_read
            if may_extend and baseline is not None and header is not None:
                yield from self._extending(baseline, header, data)
        return data

    def _saving(self, session_key: str | None, must_create: bool) -> Operation[None]:
        """``session_key`` is the one before the data was loaded: a miss then has taken it away."""
        if session_key is None:
            yield from self._creating()
        elif must_create:
            is_several = len(self._store.keys.names(session_key)) > 1
            if is_several and (yield from operations.exists(self._store.keys, session_key)):
                raise self.KeyTaken
            if (yield from self._is_elsewhere(session_key)):
                raise self.KeyTaken
            yield from self._creating_under(session_key)
        elif self._session_key is None:
            raise self.Ended
        else:
            yield from self._replacing(self._policy)

    def _creating(self, *, has_budget: bool = True) -> Operation[None]:
        """Store the data under a new key, out of its network's budget unless somebody is signing in."""
        for _ in range(CREATE_ATTEMPTS):
            session_key = self._new_session_key()
            try:
                yield from self._creating_under(session_key, has_budget=has_budget)
            except SessionKeyTaken:
                continue
            self._session_key = session_key
            self._changed()
            return
        first = self._store.settings.keys[0]
        source = f"{first}, which KEYS names" if "." in first else "the source of randomness"
        raise SessionStoreRefused(f"No unused session key was found. Check {source}.")

    def _existing(self, session_key: str | None) -> Operation[bool]:
        """Whether a session with this key is stored, here or where it would be adopted from."""
        if session_key is None:
            return False
        store = self._store_of(session_key)
        if (yield from self._at(store, operations.exists(store.keys, session_key))):
            return True
        return (yield from self._is_elsewhere(session_key))

    def _deleting(self, session_key: str | None) -> Operation[None]:
        """End the session with this key, wherever it may have moved to."""
        ending = self._ending_here(session_key)
        yield from (ending if session_key is None else self._ending_elsewhere(session_key, ending))

    def _ending_here(self, session_key: str | None) -> Operation[None]:
        for _ in range(operations.MOST_MOVES):
            has_ended = yield from self._ending(session_key)
            if session_key is None or has_ended or not self._follows_moves:
                return
            store = self._store_of(session_key)
            session_key = yield from self._at(store, operations.follow(store.keys, session_key))

    def _ending(self, session_key: str | None) -> Operation[bool]:
        if session_key is None:
            return False
        store = self._store_of(session_key)
        names, handle = store.keys, store.keys.handle(session_key)
        known = self._baseline.header if self._baseline is not None else None
        is_known = known is not None and session_key == self._session_key
        user_id = self._owner(self._baseline_data()) if is_known else None
        announcement = announcements.revoked(handle, user_id, "logout")
        if not self._has_index:
            ending = operations.end(names, session_key, announcement)
        elif is_known and known is not None:
            ending = operations.end(names, session_key, announcement, known.user)
        else:
            ending = operations.end_whosever(names, session_key, announcement)
        ended = yield from self._at(store, self._durably(ending))
        if ended:
            self._news.append(Revoked(handle, user_id, "logout"))
        return ended

    def _cycling(self, leaves_address: bool, region: Store | None = None) -> Operation[None]:
        """Move to a new key, in another ``region`` if one is given.

        Without a stored session an anonymous visitor starts anew, a login never does.
        """
        if self._session_key is None:
            yield from self._creating(has_budget=False)
            return
        for attempt in range(ATTEMPTS):
            yield from self._making_way(attempt)
            here = self._store
            there = here if region is None else region
            if there is here and region is not None:
                # Another request has been faster.
                yield from self._replacing("merge")
                return
            baseline = self._baseline
            payload, header = self._dumps(self._session_cache), self._header(self._session_cache)
            user_id = self._owner(self._session_cache)
            entry = self._entry(header, user_id)
            address_ttl = self._address_ttl(header) if leaves_address else 0
            if region is not None:
                # Whoever moves a session need not be its visitor, who hears of it with the next request.
                address_ttl = header.ttl
                entry = self._signed_in_before(entry, header)
            move = Move(self._session_key, there.keys.new(), address_ttl, user_id, entry, self._name)
            if header.ttl == 0:
                yield from operations.delete(here.keys, move.old)
                outcome: Result = Outcome.DONE
            else:
                record = self._sealed(payload, header, move.new)
                revision = baseline.revision if baseline else b""
                cycling = self._to(there, move, revision, record, header.ttl)
                # At a sign-in the final save waits for the replicas, and for this write with it.
                outcome = yield from (self._durably(cycling) if header.user else cycling)
                header = records.header_of(record)
            if outcome is Outcome.DONE:
                self._session_key = move.new
                self._baseline = Baseline(header.revision, header, payload)
                self._changed()
                yield from self._having_moved(move)
                return
            if outcome is Outcome.GONE:
                has_followed = self._follows_moves and (yield from self._following())
                if has_followed and leaves_address and region is None:
                    # Another request has moved the session for the same reason: stay with its key.
                    yield from self._replacing("merge")
                    return
                elsewhere = yield from self._finding_again()
                if elsewhere is not None:
                    # Whoever had the old key may have the new one: it is no better.
                    self._settle(elsewhere, self._policy)
                elif baseline is not None and baseline.header is not None and baseline.header.user:
                    raise self.Ended
                else:
                    yield from self._creating(has_budget=False)
                    if region is None:
                        return
            if outcome is Outcome.REVOKED:
                raise self.Ended
            if isinstance(outcome, Full):
                yield from self._making_room(entry, outcome, there)
            elif isinstance(outcome, bytes):
                self._settle(outcome, self._policy)
        raise self._too_many_rivals()

    def _to(self, there: Store, move: Move, revision: bytes, record: bytes, ttl: int) -> Operation[Result]:
        """``operations.cycle()``, within the deployment that the session is in or out of it."""
        names = self._store.keys
        if there is self._store:
            return operations.cycle(names, move, revision, record, ttl)
        is_login = records.header_of(record).user
        target = There(
            there.keys,
            lambda operation: self._at(there, self._durably(operation) if is_login else operation),
        )
        return relocate(names, target, move, revision, record, ttl)

    def _at(self, store: Store, operation: Operation[T]) -> Operation[T]:
        """``operation``, said to another store than the session's if that is where it belongs."""
        if store is self._store:
            return operation
        return through(lambda: store.connections, operation)

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
                self._last_seen = None
                return value
            yield from self._after(outcome, "merge")
        raise self._too_many_rivals()

    def _leaving_elsewhere(self, session_key: str) -> Operation[None]:
        """End what other engines have under the key of before.

        The session has its new key whether or not they answer, and without the response that has the new
        cookie its visitor would be signed out.
        """
        try:
            yield from self._ending_elsewhere(session_key, operations.known(None))
        except SessionStoreError as error:
            _log.warning("The copy of a session that has got a new key is still in another engine: %s", error)

    # Other engines: hooks for who knows some

    def _arriving(self, session_key: str) -> Operation[Located | None]:
        """The record of a session that another engine has, and that is stored here by now."""
        return operations.known(None)

    def _is_elsewhere(self, session_key: str) -> Operation[bool]:
        """Whether another engine has a session that would be adopted."""
        return operations.known(False)

    def _ending_elsewhere(self, session_key: str, ending: Operation[None]) -> Operation[None]:
        """``ending``, and the end of what other engines have."""
        return ending

    def arrival(self, session_key: str, data: dict[str, Any], life: float, now: int) -> Arrival | None:
        """What is to be stored here of another engine's session; None if its life is over. No round trip.

        ``life`` is what is left of it, in seconds. When it was last written is not known, but follows
        from that for all who have the usual life. ``SessionTooLarge`` if it may not be stored.
        """
        user_id = self._owner(data)
        user = b"" if user_id is None else keys.user_marker(user_id)
        life, usual_life = min(life, LONGEST_TTL), min(self._idle_life(data), LONGEST_TTL)
        touched = max(0, min(now, int(now + life - usual_life)))
        ttl = self._store.lifetimes.ttl(life, created=touched, now=now, is_anonymous=not user)
        if ttl is None:
            return None
        given = min(now - touched + ttl, LONGEST_TTL)
        header = Header(touched, touched, given, user, self._serializer_tag)
        payload = self._dumps(data)
        record = self._fitting(payload, header, session_key)
        entry = self._entry(header, user_id)
        if entry is not None:
            # It began at some time before, and whatever was revoked since stays so.
            entry = replace(entry, now=now, began_us=0, limit=0)
        return Arrival(session_key, record, ttl, fingerprint(payload), user_id, entry)

    # Parts of operations

    def _creating_under(self, session_key: str, *, has_budget: bool = True) -> Operation[None]:
        payload, header = self._dumps(self._session_cache), self._header(self._session_cache, is_new=True)
        if header.ttl == 0:
            # Its life is over: there is nothing to store, but a taken key is still an error.
            if (yield from operations.exists(self._store.keys, session_key)):
                raise self.KeyTaken
            return
        record = self._sealed(payload, header, session_key, is_new=True)
        budget = self._budget() if has_budget and not header.user else None
        if budget is not None:
            yield from self._spending(budget, session_key, record, header.ttl)
        else:
            creating = operations.create(self._store.keys, session_key, record, header.ttl)
            if not (yield from (self._durably(creating) if header.user else creating)):
                raise self.KeyTaken
        user_id = self._owner(self._session_cache)
        entry = self._entry(header, user_id)
        if entry is not None:
            # Nobody has the key yet, so it may be noted when it exists already.
            yield from self._admitting(session_key, entry)
        self._know(record, payload)
        self._is_new = True
        self._news.append(Created(self._handle(session_key), user_id))

    def _budget(self) -> Budget | None:
        """What a new anonymous session is paid from; None where there is no budget, or nobody knows whose."""
        allowed = self._store.settings.anonymous_budget
        network = self.network() if allowed is not None and self.network is not None else None
        if allowed is None or network is None:
            return None
        return Budget(network, *allowed, now_us=time_ns() // 1000)

    def _spending(self, budget: Budget, session_key: str, record: bytes, ttl: int) -> Operation[None]:
        """Store a new anonymous session, or raise ``SessionBudgetSpent``."""
        outcome = yield from operations.begin(self._store.keys, session_key, record, ttl, budget)
        if outcome is Outcome.TAKEN:
            raise self.KeyTaken
        if outcome is Outcome.SPENT:
            self._measure("discarded", BUDGET_SPENT)
            raise SessionBudgetSpent

    def _admitting(self, session_key: str, entry: Entry) -> Operation[None]:
        for _ in range(ATTEMPTS):
            outcome = yield from operations.admit(self._store.keys, session_key, entry)
            if outcome is Outcome.DONE:
                return
            try:
                if not isinstance(outcome, Full):
                    raise self.Ended
                yield from self._making_room(entry, outcome)
            except SessionStoreError:
                yield from operations.delete(self._store.keys, session_key)
                raise
        raise self._too_many_rivals()

    def _making_room(self, entry: Entry | None, full: Full, store: Store | None = None) -> Operation[None]:
        """Let the user have one session more, or raise ``SessionLimitReached``."""
        assert entry is not None
        store = store or self._store
        oldest_out = store.settings.on_limit == "oldest-out"
        making = indexes.make_room(store.keys, entry, full, oldest_out=oldest_out)
        ended = yield from self._at(store, making)
        if ended is None:
            raise SessionLimitReached(entry.limit)
        handle_of = store.keys.handle_of
        self._news += [Revoked(handle_of(name), entry.user_id, "limit") for name in ended]

    def _replacing(self, policy: str) -> Operation[None]:
        for attempt in range(ATTEMPTS):
            yield from self._making_way(attempt)
            outcome = yield from self._writing(self._session_cache, policy)
            if outcome is Outcome.DONE:
                self._last_seen = None
                return
            yield from self._after(outcome, policy)
        raise self._too_many_rivals()

    def _writing(self, data: dict[str, Any], policy: str) -> Operation[Result]:
        """Store ``data`` if the baseline is still what is stored; if it equals the baseline, extend its life only."""
        assert self._session_key is not None
        baseline, names, session_key = self._baseline, self._keys, self._session_key
        payload, header = self._dumps(data), self._header(data)
        if header.ttl == 0:
            # Its time is up, which is nobody's fault: the second save after that is as fine as the first.
            yield from operations.delete(self._store.keys, session_key)
            return Outcome.DONE
        if self._is_outdated:
            return (yield from self._renewing(payload, header, data, policy))
        known = baseline.header if baseline is not None else None
        entry = None
        if header.user and not self._is_noted(known, header):
            entry = self._entry(header, self._owner(data))
        if baseline is not None and payload == baseline.payload and self._is_same_kind(known, header):
            outcome = yield from self._touching(baseline.revision, header, entry)
        else:
            record = self._sealed(payload, header, session_key)
            revision = b"" if baseline is None or policy == "overwrite" else baseline.revision
            if revision or entry is not None:
                writing = operations.save(names, session_key, revision, record, header, entry)
            else:
                writing = operations.replace(names, session_key, record, header)
            former = known.user if known is not None else None
            outcome = yield from (self._durably(writing) if former != header.user else writing)
            if outcome is Outcome.DONE:
                self._know(record, payload)
                if former != header.user:
                    yield from self._passing_on(former, header.user, data, names.name(session_key))
        if isinstance(outcome, Full):
            yield from self._making_room(entry, outcome)
        return outcome

    def _renewing(
        self, payload: bytes, header: Header, data: dict[str, Any], policy: str
    ) -> Operation[Result]:
        """Store ``data`` as the first of ``KEYS`` says, under a new session key if it needs one. As ``_writing()``."""
        assert self._session_key is not None
        baseline, names, old = self._baseline, self._store.keys, self._session_key
        new = old if names.lasting(old) is not None else self._new_session_key()
        user_id = self._owner(data)
        entry = self._entry(header, user_id)
        address_ttl = self._address_ttl(header) if new != old else 0
        move = Move(old, new, address_ttl, user_id, entry, self._name)
        former_name, _ = move.names(names)
        record = self._sealed(payload, header, new)
        revision = b"" if baseline is None or policy == "overwrite" else baseline.revision
        former = baseline.header.user if baseline is not None and baseline.header is not None else None
        cycling = operations.cycle(names, move, revision, record, header.ttl)
        outcome = yield from (self._durably(cycling) if former != header.user else cycling)
        if outcome is Outcome.DONE:
            self._session_key, self._found = new, None
            self._know(record, payload)
            if new != old:
                self._changed()
                yield from self._having_moved(move)
            if former != header.user:
                yield from self._passing_on(former, header.user, data, former_name)
        elif isinstance(outcome, Full):
            yield from self._making_room(entry, outcome)
        # A name that is taken is the session's own: another request has been faster.
        return Outcome.GONE if outcome is Outcome.TAKEN else outcome

    def _address_ttl(self, header: Header) -> int:
        """How long the key of before leads to the new one."""
        if self._is_outdated:
            # Nobody has asked for a new key, and the visitor may learn it as late as this: a background task
            # or a response that fails brings no cookie. The key of before is honoured as long as its scheme.
            return max(header.ttl, operations.FORWARDING_TTL)
        # Other requests of the same page still come with the key of before.
        return operations.FORWARDING_TTL

    def _having_moved(self, move: Move) -> Operation[None]:
        """The session has another key than before."""
        self._news.append(Rotated(self._handle(move.old), self._handle(move.new), move.user_id))
        yield from self._leaving_elsewhere(move.old)

    def _finding_again(self) -> Operation[bytes | None]:
        """The record of a session that is not where it was, if another request has moved it."""
        if not self._follows_moves:
            return None
        return self._noted((yield from self._reading()) or (yield from self._tracing()))

    def _passing_on(
        self, former: bytes | None, user: bytes, data: dict[str, Any], former_name: str
    ) -> Operation[None]:
        """The session has another owner than before, when it was called ``former_name``."""
        assert self._session_key is not None
        if former and self._has_index:
            yield from operations.tidied(self._store.keys, former, [former_name])
        if user:
            self._news.append(Created(self._handle(self._session_key), self._owner(data)))

    def _after(self, outcome: Result, policy: str) -> Operation[None]:
        """Make another attempt possible, or raise."""
        if isinstance(outcome, bytes):
            self._settle(outcome, policy)
        elif isinstance(outcome, Full):
            return
        elif outcome is Outcome.REVOKED:
            raise self.Ended
        elif not (self._follows_moves and (yield from self._following())):
            elsewhere = yield from self._finding_again()
            if elsewhere is None:
                raise self.Ended
            self._settle(elsewhere, policy)

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
        if moved is None or not (yield from self._is_to_follow(moved)):
            return False
        self._session_key = moved
        # Whoever still has the old key needs the new one before the address is gone.
        self._changed()
        return True

    def _is_to_follow(self, moved: str) -> Operation[bool]:
        """Whether the address that was found leads to a session."""
        assert self._session_key is not None
        there = self._store_of(moved)
        if not there.keys.accepts(moved):
            return False
        if there is self._store:
            return True
        return (yield from has_left(self._store.keys, self._session_key, there.keys.name(moved)))

    def _tracing(self) -> Operation[Located | None]:
        """The record of a session that is not where it was, and its key, however often it has moved."""
        for _ in range(operations.MOST_MOVES):
            if not (yield from self._following()):
                return None
            located = yield from self._reading()
            if located is not None:
                return located
        return None

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
        if self._is_outdated:
            # Who only reads would not be saved, and be forgotten with the scheme of old.
            self._changed()
        entry = None
        if extended.user and not self._is_noted(header, extended):
            entry = self._entry(extended, self._owner(data))
        try:
            outcome = yield from self._touching(baseline.revision, extended, entry)
        except SessionStoreError as error:
            # The session was read; that its life was not extended can be made good by the next request.
            _log.warning("A session's life was not extended: %s", error)
        else:
            if outcome is Outcome.DONE:
                life = header._replace(touched=extended.touched, ttl=extended.ttl)
                self._baseline = baseline._replace(header=life)
                self._extended()

    def _touching(self, revision: bytes, header: Header, entry: Entry | None = None) -> Operation[Result]:
        """Overwrite the life of the stored record; as ``operations.touch()``."""
        assert self._session_key is not None
        outcome = yield from operations.touch(self._keys, self._session_key, revision, header, entry)
        if outcome is Outcome.DONE:
            self._measure("touched")
        return outcome

    def _finding_baseline(self) -> Operation[None]:
        record = self._noted((yield from self._reading()))
        if record is None:
            raise self.Ended
        self._baseline, _ = self._opened(record)

    def _too_many_rivals(self) -> SessionStoreRefused:
        return SessionStoreRefused(
            f"The session was saved by others {ATTEMPTS} times in a row while this one tried. "
            f"Look for a client that repeats its requests."
        )
