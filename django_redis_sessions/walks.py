"""What is said to Redis to see, count or end all sessions of a project?

Operations like those of one session, on one server; of a cluster each master is asked (``everywhere()``).
A walk goes through the keys in small pages, so no command holds up the server, and the client's memory does
not grow with the number of sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from django_redis_sessions.census import Census, everything
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.footing import AT_ONCE, Footing, Pace, Place, Replaced, patiently
from django_redis_sessions.keys import Keys, texts
from django_redis_sessions.operations import Command, Masters, Operation, Pause, on, or_raise
from django_redis_sessions.records import LONGEST_HEADER, owner_of

T = TypeVar("T")

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
#: How many keys are looked at when whole records are read.
LOOK = 100
#: What to say where going on would count sessions twice.
SERVER_REPLACED = "The server was restarted or replaced while its sessions were looked at. Begin again."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: sessions seen and ended so far, and about which share (0 to 1) of the keys is done.

    ``resume`` is where a later one can go on, if that was asked for.
    """

    seen: int
    ended: int
    share: float
    resume: str = ""


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

    def begin_again(self) -> bool:
        """Be ready to come past the sessions of this server once more; False if that would count them twice."""


def walk(
    keys: Keys,
    errand: Errand,
    progress: Callable[[Progress], object] = bool,
    *,
    pace: Pace = AT_ONCE,
    place: Place | None = None,
) -> Operation[bool]:
    """Take ``errand`` from page to page; whether it has come past every session. A round trip a page.

    The next page is asked for together with what is said about this one, so all of it is one round
    trip; no command is longer than a page. As SCAN has it
    (https://redis.io/docs/latest/commands/scan/): whoever was there all the time is seen, and while
    Redis resizes its table a session can be seen twice. Goes on at ``place``, if it knows this server,
    and keeps it up to date.
    """
    footing = Footing(pace)
    if place is not None or pace.patience:
        yield from footing.settle()
    total = yield from patiently(_keys_in_database(), pace.patience)
    start = 0
    if place is not None and footing.run_id:
        known = place.cursors.setdefault(footing.run_id, 0)
        if known is None:
            return True
        start = known
    cursor: int | None = start
    # Where the pages began that the errand may still have something to say about.
    before: int | None = start
    here: int | None = start
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
            if place is not None and footing.run_id:
                place.cursors[footing.run_id] = None
            return not is_cut_short
        asked_of = footing.run_id
        try:
            replies = yield from footing.ask([*scan, *commands])
        except Replaced:
            if not errand.begin_again():
                raise SessionStoreUnavailable(SERVER_REPLACED) from None
            if place is not None:
                place.cursors.pop(asked_of, None)
            cursor, before, here, names, looked_at = 0, 0, 0, [], 0
            continue
        before, here = here, cursor
        names = []
        if scan:
            next_cursor, names = or_raise(replies.pop(0))
            cursor = int(next_cursor) or None
            looked_at += PAGE
        errand.receive(replies)
        if place is not None and footing.run_id:
            place.cursors[footing.run_id] = before
        share = 1.0 if cursor is None and not names else min(1.0, looked_at / total)
        progress(Progress(*errand.progress(), share, str(place or "")))
        if rest := pace.rest(len(names)):
            yield Pause(rest)


def survey(
    keys: Keys,
    census: Census,
    *,
    limit: int | None = None,
    progress: Callable[[Progress], object] = bool,
    pace: Pace = AT_ONCE,
) -> Operation[Census]:
    """Count sessions into ``census``, all or about ``limit``; a round trip a page."""
    census.is_complete = yield from walk(keys, _Survey(census, limit), progress, pace=pace)
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
        for (name, memory), size in zip(large, replies[:first], strict=True):
            # Gone by now, but counted: then it was at least this long.
            self._census.weigh(size if isinstance(size, int) and size else GLIMPSE, memory, name)
        starts, ttls = replies[first : first + count], replies[first + count : first + 2 * count]
        memories: list[Any] = [None] * count
        memories[:: self._stride] = replies[first + 2 * count :]
        seen = [
            (name, start, ttl, memory)
            for name, start, ttl, memory in zip(self._names, starts, ttls, memories, strict=True)
            # Gone since the SCAN, or replaced by another kind of key: not a session any more.
            if ttl != -2 and not isinstance(start, Exception)
        ]
        self._census.count(
            [owner_of(start) for _, start, _, _ in seen],
            [ttl for _, _, ttl, _ in seen],
            [start for _, start, _, _ in seen],
        )
        for name, start, _, memory in seen:
            # MEMORY may be forbidden by an ACL rule.
            known = memory if isinstance(memory, int) else None
            if len(start) < GLIMPSE:
                self._census.weigh(len(start), known, name)
            else:
                self._large.append((name, known))

    def progress(self) -> tuple[int, int]:
        return self._census.sessions, 0

    @property
    def is_enough(self) -> bool:
        return self._limit is not None and self._census.sessions >= self._limit

    def begin_again(self) -> bool:
        return False


def purge(
    keys: Keys,
    wanted: Callable[[bytes], bool],
    *,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
    spared: str = "",
    told: Callable[[str], bytes] | None = None,
    pace: Pace = AT_ONCE,
    place: Place | None = None,
) -> Operation[int]:
    """End every session that is ``wanted``, by its record's first bytes; their number. A round trip a page.

    Stopping half-way leaves the rest as it was. The session named ``spared`` stays; what ``told()`` makes
    of a session's name is announced when it is ended.
    """
    # On a cluster no command may name keys of several slots.
    errand = _Purge(wanted, dry_run=dry_run, bundle=1 if keys.are_spread else BUNDLE)
    if spared:
        errand.spared = keys.record_named(spared).encode()
    if told is not None:
        errand.announcement = lambda name: ("PUBLISH", keys.channel, told(keys.name_in(name)))
    yield from walk(keys, errand, progress, pace=pace, place=place)
    return errand.ended


def purge_moved(
    keys: Keys, wanted: Callable[[bytes], bool], spared: str = "", patience: float = 0
) -> Operation[int]:
    """End every session that is ``wanted`` and has just moved to another key; their number.

    For whoever ends all sessions: one that moves meanwhile, from where ``purge()`` has still to look to
    where it has looked, is in no page. Two round trips for each 500 keys of each server, and two more
    where sessions have moved.
    """
    ended = 0
    pages = Pages((yield Masters()), lambda cursor: _moved_on(keys, cursor), patience)
    while (names := (yield from pages.turn())) is not None:
        moved = [keys.record_named(name) for name in names if name != spared]
        if moved:
            ended += yield from patiently(_purge_named(moved, wanted), patience)
    return ended


def _moved_on(keys: Keys, cursor: int) -> Operation[tuple[int, list[str]]]:
    """Where to go on on this server, 0 at the end, and the names that sessions on a page have now."""
    next_cursor, moved = yield _scan_for(keys.moved_pattern, cursor, PAGE)
    names = (yield [("GET", key) for key in moved]) if moved else []
    return int(next_cursor), texts(name for name in names if isinstance(name, bytes))


def _purge_named(names: list[str], wanted: Callable[[bytes], bool]) -> Operation[int]:
    starts = yield [("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in names]
    doomed = [name for name, start in zip(names, starts, strict=True) if or_raise(start) and wanted(start)]
    return sum(map(or_raise, (yield [("UNLINK", name) for name in doomed]))) if doomed else 0


class _Purge:
    """Looks at each session's header, if that decides anything, and ends it with the next round trip."""

    is_enough = False
    #: The Redis key of the one that stays.
    spared: bytes | None = None
    #: How to say that the session with a Redis key was ended.
    announcement: Callable[[bytes], Command] | None = None

    def __init__(self, wanted: Callable[[bytes], bool], *, dry_run: bool, bundle: int) -> None:
        self.ended = 0
        self._seen = 0
        self._wanted = wanted
        self._is_dry_run = dry_run
        self._bundle = bundle
        self._names: list[bytes] = []
        self._doomed: list[bytes] = []
        self._endings = 0

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
        self._endings = len(ending)
        if self.announcement is not None:
            ending += map(self.announcement, doomed)
        return [*ending, *[("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in names]]

    def receive(self, replies: list[Any]) -> None:
        at = len(replies) - len(self._names)
        self.ended += sum(map(or_raise, replies[: self._endings]))
        self._doomed = []
        seen, wanted = 0, self._wanted
        for name, start in zip(self._names, replies[at:], strict=True):
            # Empty: gone since the SCAN. An error: replaced by another kind of key.
            if start and not isinstance(start, Exception):
                seen += 1
                if wanted(start) and name != self.spared:
                    self._doom([name])
        self._seen += seen

    def progress(self) -> tuple[int, int]:
        return self._seen, self.ended

    def begin_again(self) -> bool:
        self._doomed, self._names = [], []
        return not self._is_dry_run

    def _doom(self, names: list[bytes]) -> None:
        if self._is_dry_run:
            self.ended += len(names)
        else:
            self._doomed += names


def sample(
    keys: Keys,
    take: Callable[[str, bytes], bool],
    *,
    limit: int,
    rate: float,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> Operation[int]:
    """Hand the names and records of ``limit`` sessions to ``take``, or of fewer when it says no; the number of those.

    Reads no more than ``rate`` sessions a second. One round trip for each 500 keys of the database
    that are looked at, and one for each 100 sessions; records of more than 64 kB are left out.
    """
    footing = Footing(Pace(patience=patience))
    if patience:
        yield from footing.settle()
    total = yield from patiently(_keys_in_database(), patience)
    cursor = looked_at = 0
    wants_more = True
    # SCAN may name a session twice, which must not count as two.
    seen: set[bytes] = set()
    while True:
        try:
            next_cursor, found = yield from footing.ask(_scan(keys, cursor))
            cursor = int(next_cursor)
            fresh = [name for name in dict.fromkeys(found) if name not in seen][: limit - len(seen)]
            for start in range(0, len(fresh), BATCH):
                batch = fresh[start : start + BATCH]
                records = yield from footing.ask([("GETRANGE", name, 0, LONGEST_SAMPLED) for name in batch])
                for name, record in zip(batch, records, strict=True):
                    if isinstance(record, SessionStoreMisconfigured):
                        raise record
                    # An empty one is gone since the SCAN, and any other error is about that one alone.
                    if not isinstance(record, Exception) and 0 < len(record) <= LONGEST_SAMPLED:
                        wants_more = take(keys.name_in(name), record)
                seen.update(batch)
                if not wants_more:
                    break
                progress(Progress(len(seen), 0, min(1.0, max(len(seen) / limit, looked_at / total))))
                yield Pause(len(batch) / rate)
        except Replaced:
            # The batch that was asked for is not among those seen, so it is found once more.
            cursor = 0
            continue
        looked_at += PAGE
        if not cursor or not wants_more or len(seen) >= limit:
            progress(Progress(len(seen), 0, 1.0))
            return len(seen)


def everywhere(operation: Callable[[int], Operation[T]]) -> Operation[list[T]]:
    """What ``operation(masters_left)`` gives on each server that holds keys, one after the other."""
    servers = yield Masters()
    results: list[T] = []
    for at, server in enumerate(servers):
        results.append((yield from on(server, operation(len(servers) - at))))
    return results


class Pages(Generic[T]):
    """Every server's keys, page by page, for whoever does something of their own with each page.

    ``look(cursor)`` gives where to go on, 0 at the end, and what is on the page. A connection that is lost
    on the way is waited for, ``patience`` seconds in all at each place. Where another process of a server
    answers, ``begin_again()`` is called and its first page comes next.
    """

    def __init__(
        self,
        servers: list[Any],
        look: Callable[[int], Operation[tuple[int, T]]],
        patience: float = 0,
        *,
        start: tuple[int, int] = (0, 0),
        begin_again: Callable[[], object] = bool,
    ) -> None:
        self._servers = servers
        self._look = look
        self._patience = patience
        self._begin_again = begin_again
        self._footing: Footing | None = None
        #: The server, by its place among all, and the cursor there: of the page that came last, and of the next.
        self.here = self.next = start

    @property
    def is_over(self) -> bool:
        """Whether there is no further page."""
        return self.next[0] >= len(self._servers)

    def turn(self) -> Operation[T | None]:
        """The next page; None at the end."""
        while not self.is_over:
            at, cursor = self.here = self.next
            footing = yield from self._standing(at)
            try:
                cursor, found = yield from on(self._servers[at], footing.take(self._look(cursor)))
            except Replaced:
                self.next = at, 0
                self._begin_again()
                continue
            self.next = (at, cursor) if cursor else (at + 1, 0)
            if not cursor:
                self._footing = None
            return found
        return None

    def _standing(self, at: int) -> Operation[Footing]:
        if self._footing is None:
            footing = Footing(Pace(patience=self._patience))
            if self._patience:
                yield from on(self._servers[at], patiently(footing.settle(), self._patience if at else 0))
            self._footing = footing
        return self._footing


def find(keys: Keys, wanted: Callable[[str], bool]) -> Operation[str | None]:
    """The name of a session that is ``wanted``, of all servers' sessions. One round trip for each 500 keys."""
    pages = Pages((yield Masters()), lambda cursor: _names_on(keys, cursor))
    while (names := (yield from pages.turn())) is not None:
        for name in names:
            if wanted(name):
                return name
    return None


def _names_on(keys: Keys, cursor: int) -> Operation[tuple[int, list[str]]]:
    next_cursor, found = yield _scan(keys, cursor)
    return int(next_cursor), [*map(keys.name_in, found)]


def look(keys: Keys, cursor: int) -> Operation[tuple[int, dict[str, bytes]]]:
    """A page of one server's sessions: where to go on, 0 at the end, and their records by name.

    Two round trips. As with ``walk()``, a session can be seen twice while Redis resizes its table.
    """
    next_cursor, found = yield _scan(keys, cursor, LOOK)
    records = (yield [("GET", name) for name in found]) if found else []
    return int(next_cursor), {
        keys.name_in(name): record
        for name, record in zip(found, records, strict=True)
        # Gone since the SCAN, or replaced by another kind of key.
        if isinstance(record, bytes)
    }


def owners_on(keys: Keys, cursor: int) -> Operation[tuple[int, dict[str, bytes]]]:
    """As ``starts_on()``, with the marker of each session's user; ``b""`` for nobody."""
    next_cursor, starts = yield from starts_on(keys, cursor)
    return next_cursor, {name: owner_of(start) or b"" for name, start in starts.items()}


def starts_on(keys: Keys, cursor: int) -> Operation[tuple[int, dict[str, bytes]]]:
    """As ``look()`` for more sessions, with the first bytes of each record, which hold its header."""
    next_cursor, found = yield _scan(keys, cursor)
    starts = (yield [("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in found]) if found else []
    return int(next_cursor), {
        keys.name_in(name): start
        for name, start in zip(found, starts, strict=True)
        if isinstance(start, bytes) and start
    }


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


def _scan(keys: Keys, cursor: int, count: int | None = None) -> Command:
    return _scan_for(keys.records_pattern, cursor, count or PAGE)


def _scan_for(pattern: str, cursor: int, count: int) -> Command:
    return ("SCAN", cursor, "MATCH", pattern, "COUNT", count, "TYPE", "string")
