"""How are all records brought to the protection that new ones have, while the site goes on?

Records are protected as the settings were when they were written. A rewritten one says the same, under
the same revision and with the same life, so no request that is under way notices: whoever has read the
session before may save it afterwards, and whoever has saved it in between has written it anew anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django_redis_sessions import scripts
from django_redis_sessions.errors import CorruptRecord, SessionStoreUnavailable
from django_redis_sessions.footing import AT_ONCE, Pace, patiently
from django_redis_sessions.keys import Keys
from django_redis_sessions.operations import Command, Masters, Operation, Pause, or_raise, run_scripts
from django_redis_sessions.protection import described
from django_redis_sessions.records import Codec, header_of
from django_redis_sessions.walks import BATCH, SERVER_REPLACED, Pages, Progress, starts_on

#: So often a session is tried that others save in the meantime.
ATTEMPTS = 5


@dataclass(slots=True)
class Rewritten:
    """What has become of the sessions that were found."""

    found: int = 0
    #: Written anew; in a dry run, what would have been.
    rewritten: int = 0
    #: Protected as new ones are already.
    current: int = 0
    #: Left as they were: others saved them each time, and may not have the new settings.
    missed: int = 0
    #: Left as they were: they are no sessions for this process, nor for its visitors.
    unreadable: int = 0
    #: How many were protected how, when they were found: ``{"encrypted, key 1f00ab42": 3}``.
    by_key: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Rewritten) -> Rewritten:
        return Rewritten(
            self.found + other.found,
            self.rewritten + other.rewritten,
            self.current + other.current,
            self.missed + other.missed,
            self.unreadable + other.unreadable,
            self.by_key + other.by_key,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "found": self.found,
            "rewritten": self.rewritten,
            "current": self.current,
            "missed": self.missed,
            "unreadable": self.unreadable,
            "by_key": dict(self.by_key.most_common()),
        }


def rewrite_all(
    keys: Keys,
    codec: Codec,
    *,
    dry_run: bool = False,
    pace: Pace = AT_ONCE,
    progress: Callable[[Progress], object] = bool,
) -> Operation[Rewritten]:
    """Protect every session as ``codec`` protects new ones.

    Two round trips for each 500 keys of the database, and two for each 100 sessions that are written.
    """
    rewriting = _Rewriting(keys, codec, dry_run, pace.patience)
    pages = Pages(
        (yield Masters()),
        lambda cursor: starts_on(keys, cursor),
        pace.patience,
        begin_again=rewriting.begin_again,
    )
    done = rewriting.done
    while (starts := (yield from pages.turn())) is not None:
        yield from rewriting.take(starts)
        progress(Progress(done.found, done.rewritten, 0.0))
        if rest := pace.rest(len(starts)):
            yield Pause(rest)
    return done


class _Rewriting:
    """Takes a page of sessions at a time."""

    def __init__(self, keys: Keys, codec: Codec, is_dry_run: bool, patience: float) -> None:
        self.done = Rewritten()
        self._keys = keys
        self._codec = codec
        self._is_dry_run = is_dry_run
        self._patience = patience

    def begin_again(self) -> None:
        """Another process of the server answers: those that were written count as they are now, too."""
        if self._is_dry_run:
            raise SessionStoreUnavailable(SERVER_REPLACED)

    def take(self, starts: dict[str, bytes]) -> Operation[None]:
        """Count these sessions by the first bytes of their records, and write those that have to be."""
        self.done.found += len(starts)
        stale = [name for name, start in starts.items() if self._is_stale(start)]
        for at in range(0, len(stale), BATCH):
            left = stale[at : at + BATCH]
            for _ in range(ATTEMPTS):
                left = yield from patiently(self._written(left), self._patience)
                if not left:
                    break
            self.done.missed += len(left)

    def _is_stale(self, start: bytes) -> bool:
        try:
            header = header_of(start)
        except CorruptRecord:
            self.done.unreadable += 1
            self.done.by_key["no session"] += 1
            return False
        self.done.by_key[described(header.protection, header.key_id)] += 1
        is_current = self._codec.is_current(header)
        self.done.current += is_current
        return not is_current

    def _written(self, names: list[str]) -> Operation[list[str]]:
        """Write these sessions anew; those that somebody else has saved meanwhile."""
        commands: list[Command] = [("GET", self._keys.record_named(name)) for name in names]
        found = yield commands
        new = {
            name: record
            for name, stored in zip(names, map(or_raise, found), strict=True)
            if stored is not None and (record := self._rewritten(name, stored)) is not None
        }
        if self._is_dry_run:
            self.done.rewritten += len(new)
            return []
        calls = [([self._keys.record_named(name)], [record]) for name, record in new.items()]
        outcomes: Iterable[Any] = yield from run_scripts(scripts.REWRITE, calls)
        left = [name for name, outcome in zip(new, outcomes, strict=True) if not outcome]
        self.done.rewritten += len(new) - len(left)
        return left

    def _rewritten(self, name: str, record: bytes) -> bytes | None:
        """The session as it is to be written; None if it need not or cannot be."""
        try:
            if self._codec.is_current(header_of(record)):
                self.done.current += 1
                return None
            return self._codec.reseal(record, self._keys.handle_of(name))
        except CorruptRecord:
            self.done.unreadable += 1
            return None
