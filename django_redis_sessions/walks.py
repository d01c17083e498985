"""What is said to Redis to see, count or end all sessions of a project?

Operations like those of one session, on one server; of a cluster each master is asked. A walk goes
through the keys in small pages, so no command holds up the server, and the client's memory does
not grow with the number of sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from django_redis_sessions.census import Census, everything
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.keys import Keys
from django_redis_sessions.operations import Command, Operation, Pause
from django_redis_sessions.records import LONGEST_HEADER, owner_of

#: How many keys one SCAN looks at: well under a millisecond of the server's time.
PAGE = 500
#: How many keys one UNLINK names: freeing them takes well under a millisecond, were they large.
BUNDLE = 100
#: So many first bytes of a record are fetched to count it: most records whole, which spares STRLEN.
GLIMPSE = 1024
#: MEMORY USAGE is asked for so many sessions, and from then on for one in so many.
MEASURED_AT_LEAST, MEASURED_EVERY = 2000, 20
#: How many records are fetched at a time for a sample, and the bytes beyond which one is left out.
BATCH, LONGEST_SAMPLED = 100, 64 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: sessions seen and ended so far, and about which share (0 to 1) of the keys is done."""

    seen: int
    ended: int
    share: float


class Errand(Protocol):
    """What is done with the sessions that a walk finds, a page at a time."""

    def commands(self, names: list[bytes]) -> list[Command]:
        """What to say about the records with these Redis keys, and about what earlier pages left open."""

    def receive(self, replies: list[Any]) -> None:
        """Take the replies to the commands that were given last; errors of this package among them."""

    def progress(self) -> tuple[int, int]:
        """How many sessions were seen so far, and how many ended."""

    @property
    def is_enough(self) -> bool:
        """Whether no further page is needed."""


def walk(keys: Keys, errand: Errand, progress: Callable[[Progress], object] = bool) -> Operation[bool]:
    """Take ``errand`` from page to page; whether it has come past every session. A round trip a page.

    The next page is asked for together with what is said about this one, so all of it is one round
    trip; no command is longer than a page. As SCAN has it
    (https://redis.io/docs/latest/commands/scan/): whoever was there all the time is seen, and while
    Redis resizes its table a session can be seen twice.
    """
    total = yield from _keys_in_database()
    cursor: int | None = 0
    names: list[bytes] = []
    looked_at = 0
    is_cut_short = False
    while True:
        if errand.is_enough:
            is_cut_short = is_cut_short or cursor is not None or bool(names)
            cursor, names = None, []
        commands = errand.commands(names)
        scan: list[Command] = [] if cursor is None else [_scan(keys, cursor)]
        if not scan and not commands:
            return not is_cut_short
        replies = yield [*scan, *commands]
        names = []
        if scan:
            next_cursor, names = _or_raise(replies.pop(0))
            cursor = int(next_cursor) or None
            looked_at += PAGE
        errand.receive(replies)
        share = 1.0 if cursor is None and not names else min(1.0, looked_at / total)
        progress(Progress(*errand.progress(), share))


def survey(
    keys: Keys, census: Census, *, limit: int | None = None, progress: Callable[[Progress], object] = bool
) -> Operation[Census]:
    """Count sessions into ``census``, all or about ``limit``; a round trip a page."""
    census.is_complete = yield from walk(keys, _Survey(census, limit), progress)
    return census


class _Survey:
    """Looks at each session: two commands, and a third for some of them."""

    def __init__(self, census: Census, limit: int | None) -> None:
        self._census = census
        self._limit = limit
        self._names: list[bytes] = []
        self._stride = 1
        #: Sessions whose size is not known yet, each with what it takes in Redis, if that was asked.
        self._large: list[tuple[bytes, int | None]] = []

    def commands(self, names: list[bytes]) -> list[Command]:
        self._names = names
        self._stride = 1 if self._census.measured < MEASURED_AT_LEAST else MEASURED_EVERY
        return [
            *[("STRLEN", name) for name, _ in self._large],
            *[("GETRANGE", name, 0, GLIMPSE - 1) for name in names],
            *[("TTL", name) for name in names],
            *[("MEMORY", "USAGE", name) for name in names[:: self._stride]],
        ]

    def receive(self, replies: list[Any]) -> None:
        large, self._large = self._large, []
        first, count = len(large), len(self._names)
        for (_, memory), size in zip(large, replies[:first], strict=True):
            # Gone by now, but counted: then it was at least this long.
            self._census.weigh(size if isinstance(size, int) and size else GLIMPSE, memory)
        starts, ttls = replies[first : first + count], replies[first + count : first + 2 * count]
        memories: list[Any] = [None] * count
        memories[:: self._stride] = replies[first + 2 * count :]
        seen = [
            (name, start, ttl, memory)
            for name, start, ttl, memory in zip(self._names, starts, ttls, memories, strict=True)
            # Gone since the SCAN, or replaced by another kind of key: not a session any more.
            if ttl != -2 and not isinstance(start, Exception)
        ]
        self._census.count([owner_of(start) for _, start, _, _ in seen], [ttl for _, _, ttl, _ in seen])
        for name, start, _, memory in seen:
            # MEMORY may be forbidden by an ACL rule.
            known = memory if isinstance(memory, int) else None
            if len(start) < GLIMPSE:
                self._census.weigh(len(start), known)
            else:
                self._large.append((name, known))

    def progress(self) -> tuple[int, int]:
        return self._census.sessions, 0

    @property
    def is_enough(self) -> bool:
        return self._limit is not None and self._census.sessions >= self._limit


def purge(
    keys: Keys,
    wanted: Callable[[bytes], bool],
    *,
    dry_run: bool = False,
    one_by_one: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> Operation[int]:
    """End every session that is ``wanted``, by its record's first bytes; their number. A round trip a page.

    ``one_by_one`` is for clusters, where no command may name keys of several slots. Stopping
    half-way leaves the rest as it was.
    """
    errand = _Purge(wanted, dry_run=dry_run, bundle=1 if one_by_one else BUNDLE)
    yield from walk(keys, errand, progress)
    return errand.ended


class _Purge:
    """Looks at each session's header, if that decides anything, and ends it with the next round trip."""

    is_enough = False

    def __init__(self, wanted: Callable[[bytes], bool], *, dry_run: bool, bundle: int) -> None:
        self.ended = 0
        self._seen = 0
        self._wanted = wanted
        self._is_dry_run = dry_run
        self._bundle = bundle
        self._names: list[bytes] = []
        self._doomed: list[bytes] = []

    def commands(self, names: list[bytes]) -> list[Command]:
        if self._wanted is everything:
            self._seen += len(names)
            self._doom(names)
            names = []
        self._names = names
        doomed = self._doomed
        ending: list[Command] = [
            ("UNLINK", *doomed[start : start + self._bundle]) for start in range(0, len(doomed), self._bundle)
        ]
        return [*ending, *[("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in names]]

    def receive(self, replies: list[Any]) -> None:
        at = len(replies) - len(self._names)
        self.ended += sum(map(_or_raise, replies[:at]))
        self._doomed = []
        seen, wanted = 0, self._wanted
        for name, start in zip(self._names, replies[at:], strict=True):
            # Empty: gone since the SCAN. An error: replaced by another kind of key.
            if start and not isinstance(start, Exception):
                seen += 1
                if wanted(start):
                    self._doom([name])
        self._seen += seen

    def progress(self) -> tuple[int, int]:
        return self._seen, self.ended

    def _doom(self, names: list[bytes]) -> None:
        if self._is_dry_run:
            self.ended += len(names)
        else:
            self._doomed += names


def sample(
    keys: Keys,
    take: Callable[[bytes], bool],
    *,
    limit: int,
    rate: float,
    progress: Callable[[Progress], object] = bool,
) -> Operation[int]:
    """Hand the records of ``limit`` sessions to ``take``, or of fewer when it says no; the number of those.

    Reads no more than ``rate`` sessions a second. One round trip for each 500 keys of the database
    that are looked at, and one for each 100 sessions; records of more than 64 kB are left out.
    """
    total = yield from _keys_in_database()
    cursor = looked_at = 0
    wants_more = True
    # SCAN may name a session twice, which must not count as two.
    seen: set[bytes] = set()
    while True:
        next_cursor, found = yield _scan(keys, cursor)
        cursor = int(next_cursor)
        fresh = [name for name in dict.fromkeys(found) if name not in seen][: limit - len(seen)]
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            for record in (yield [("GETRANGE", name, 0, LONGEST_SAMPLED) for name in batch]):
                if isinstance(record, SessionStoreMisconfigured):
                    raise record
                # An empty one is gone since the SCAN, and any other error is about that one alone.
                if not isinstance(record, Exception) and 0 < len(record) <= LONGEST_SAMPLED:
                    wants_more = take(record)
            seen.update(batch)
            if not wants_more:
                break
            progress(Progress(len(seen), 0, min(1.0, max(len(seen) / limit, looked_at / total))))
            yield Pause(len(batch) / rate)
        looked_at += PAGE
        if not cursor or not wants_more or len(seen) >= limit:
            progress(Progress(len(seen), 0, 1.0))
            return len(seen)


def server_info() -> Operation[dict[str, str]]:
    """The server's INFO as text by name; ``{}`` where an ACL rule forbids it. One round trip."""
    replies = yield [("INFO",), ("DBSIZE",)]
    if isinstance(replies[0], Exception):
        return {}
    text = replies[0].decode(errors="replace") if isinstance(replies[0], bytes) else str(replies[0])
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if isinstance(replies[1], int):
        info["dbsize"] = str(replies[1])
    return info


def _keys_in_database() -> Operation[int]:
    """An upper bound for progress; 1 where an ACL rule forbids asking."""
    (reply,) = yield [("DBSIZE",)]
    return reply if isinstance(reply, int) and reply else 1


def _scan(keys: Keys, cursor: int) -> Command:
    return ("SCAN", cursor, "MATCH", keys.records_pattern, "COUNT", PAGE, "TYPE", "string")


def _or_raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
