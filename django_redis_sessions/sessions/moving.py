"""How do all sessions move here from another engine, or from here to another?

A move copies: what was at one place stays there, so it may be repeated, and taken back. Neither
overwrites a session that is there already, and neither brings back one that was signed out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from time import sleep, time
from typing import TypeVar

from asgiref.sync import sync_to_async

from django_redis_sessions import arrivals, conf, regions, walks
from django_redis_sessions.arrivals import GONE, Arrival
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.departures import copy, has_changed, left
from django_redis_sessions.engines import Engine, Found, Listed, engine
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreUnavailable, SessionTooLarge
from django_redis_sessions.executors import arun, run
from django_redis_sessions.footing import Pace, patiently
from django_redis_sessions.legacy import ENGINE as LEGACY
from django_redis_sessions.legacy import Legacy
from django_redis_sessions.operations import Operation, Outcome, masters
from django_redis_sessions.walks import Pages, Progress

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")


@dataclass(slots=True)
class Moved:
    """What has become of the live sessions that were found."""

    found: int = 0
    #: Copied now; in a dry run, what would have been.
    moved: int = 0
    #: Not copied: there already, or there before and ended since.
    known: int = 0
    #: Not copied: the user's sessions were revoked here, or it was signed out while it was copied.
    ended: int = 0
    #: Not copied: empty, unreadable for this project's serializer, or over by ``SESSION_REDIS``.
    skipped: int = 0
    #: Not copied: larger than ``MAX_SIZE`` allows.
    too_large: int = 0

    def __add__(self, other: Moved) -> Moved:
        return Moved(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def as_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


def import_from(
    source: str,
    *,
    cache: str | None = None,
    legacy_url: str | None = None,
    legacy_prefix: str = "",
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Moved:
    """Copy all live sessions of another engine here, under the same session keys with what is left of their life.

    ``source`` is the engine's dotted path; ``cache`` an alias of CACHES for Django's ``cache`` engine;
    ``legacy_url`` and ``legacy_prefix`` say where ``redis_sessions.session`` kept its. ``rate`` and
    ``patience`` as in ``purge()``; the other engine is not waited for. A session that is here, or was here,
    is left alone. May be stopped and repeated at any time. Three round trips (on a cluster four) and two queries
    for each 500 sessions. ``SessionStoreMisconfigured`` where the engine has no list of its sessions. Where
    there are regions, they come to the first.
    """
    other = _other(source, cache, legacy_url, legacy_prefix)
    with regions.using(_first_region()):
        return _Import(other, dry_run, Pace(rate, patience)).perform(_Report(other.total(), progress))


async def aimport_from(
    source: str,
    *,
    cache: str | None = None,
    legacy_url: str | None = None,
    legacy_prefix: str = "",
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Moved:
    """Async twin of ``import_from()``; works in a thread, as Django's engines do."""
    return await sync_to_async(import_from)(
        source,
        cache=cache,
        legacy_url=legacy_url,
        legacy_prefix=legacy_prefix,
        dry_run=dry_run,
        rate=rate,
        patience=patience,
        progress=progress,
    )


def export_to(
    target: str,
    *,
    cache: str | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Moved:
    """Copy all sessions to another engine, by the rules of ``import_from()``.

    Needs ``KEYS: "plain"``: with hashed keys nobody can tell the session keys, and
    ``SessionStoreMisconfigured`` says what to do instead. What is looked at twice, because the server was
    restarted meanwhile, counts twice, and a dry run has to be repeated then. Four round trips and three
    queries for each 100 keys of the database, and three queries for each copy that is replaced.
    """
    if conf.store().settings.keys != ("plain",):
        name = target.rpartition(".")[2]
        raise SessionStoreMisconfigured(
            "Redis holds digests of the session keys (SESSION_REDIS['KEYS'] is not 'plain' alone), so nobody "
            "can list the keys that another engine needs. Let each session move when its visitor comes: "
            f"SESSION_ENGINE = 'django_redis_sessions.leaving.{name}'."
        )
    other, moved = engine(target, cache), Moved()
    for region in regions.each():
        with regions.using(region):
            moved += _Export(other, dry_run, Pace(rate, patience)).perform(_Report(None, progress))
    return moved


async def aexport_to(
    target: str,
    *,
    cache: str | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    patience: float = 0,
    progress: Callable[[Progress], object] = bool,
) -> Moved:
    """Async twin of ``export_to()``; works in a thread, as Django's engines do."""
    return await sync_to_async(export_to)(
        target, cache=cache, dry_run=dry_run, rate=rate, patience=patience, progress=progress
    )


def adopted() -> datetime | None:
    """When a session was last adopted from one of ``FALLBACK_ENGINES``; None if none was. One round trip."""
    with regions.using(_first_region()):
        return _instant(run(conf.store().connections.client(), arrivals.last(conf.store().keys)))


async def aadopted() -> datetime | None:
    """Async twin of ``adopted()``."""
    with regions.using(_first_region()):
        return _instant(await arun(conf.store().connections.async_client(), arrivals.last(conf.store().keys)))


def _first_region() -> str | None:
    """Where sessions are whose keys have no region's name; ``SessionStoreMisconfigured`` in another one."""
    first, chosen = next(iter(conf.stores().by_region), None), conf.region.get()
    if chosen not in (None, first):
        raise SessionStoreMisconfigured(
            f"Sessions of other engines come to the first of the regions, {first}: their keys name none."
        )
    return first


@dataclass(frozen=True, slots=True)
class _Report:
    """Tells how far a move is, if the ``total`` is known."""

    total: int | None
    progress: Callable[[Progress], object]

    def __call__(self, moved: Moved) -> None:
        share = min(1.0, moved.found / self.total) if self.total else 0.0
        self.progress(Progress(moved.found, moved.moved, share))


class _Move:
    """What both directions have in common: steps that wait for Redis, each for itself."""

    def __init__(self, other: Engine, dry_run: bool, pace: Pace) -> None:
        self._other = other
        self._is_dry_run = dry_run
        self._pace = pace
        self._store = conf.store()
        self._client = self._store.connections.client()
        self._moved = Moved()

    def _patiently(self, operation: Operation[T]) -> T:
        return run(self._client, patiently(operation, self._pace.patience))

    def _rest(self, seen: int) -> None:
        if seconds := self._pace.rest(seen):
            sleep(seconds)


class _Import(_Move):
    """Takes the pages of another engine, one after the other."""

    def __init__(self, other: Engine, dry_run: bool, pace: Pace) -> None:
        super().__init__(other, dry_run, pace)
        self._session = SessionStore()

    def perform(self, report: _Report) -> Moved:
        """Copy everything."""
        for page in self._other.pages():
            self._moved.found += len(page)
            self._take(page)
            report(self._moved)
            self._rest(len(page))
        return self._moved

    def _take(self, page: list[Listed]) -> None:
        new, too_large = self._unknown(page), self._moved.too_large
        made = [arrival for listed in new if (arrival := self._arrival(listed)) is not None]
        self._moved.skipped += len(new) - len(made) - (self._moved.too_large - too_large)
        if self._is_dry_run:
            self._moved.moved += len(made)
            return
        outcomes = self._patiently(arrivals.adopt_all(self._store.keys, made))
        stored = [arrival for arrival, outcome in zip(made, outcomes, strict=True) if outcome is Outcome.DONE]
        revoked = outcomes.count(Outcome.REVOKED)
        # Who signs out at the other engine between its being read and now ends a copy there, and
        # means this one as well.
        there = self._other.present([arrival.session_key for arrival in stored])
        late = [arrival for arrival in stored if arrival.session_key not in there]
        self._patiently(arrivals.withdraw(self._store.keys, late))
        self._moved.moved += len(stored) - len(late)
        self._moved.ended += revoked + len(late)
        self._moved.known += len(made) - len(stored) - revoked

    def _unknown(self, page: list[Listed]) -> list[Listed]:
        """Those that have not been here: of the others nothing is read, so repeating costs little."""
        plausible = [listed for listed in page if self._store.keys.accepts(listed.session_key)]
        names = [listed.session_key for listed in plausible]
        known = self._patiently(_known(names))
        new = [listed for listed, is_known in zip(plausible, known, strict=True) if not is_known]
        self._moved.known += len(plausible) - len(new)
        self._moved.skipped += len(page) - len(plausible)
        return new

    def _arrival(self, listed: Listed) -> Arrival | None:
        data = self._other.opened(listed.content)
        if not data:
            return None
        try:
            return self._session.arrival(listed.session_key, data, listed.life, int(time()))
        except SessionTooLarge as error:
            _log.warning("A session was not copied: %s", error)
            self._moved.too_large += 1
            return None


class _Export(_Move):
    """Takes what is here, page by page."""

    def perform(self, report: _Report) -> Moved:
        """Copy everything."""
        keys, servers = self._store.keys, run(self._client, masters())
        pages = Pages(
            servers,
            lambda cursor: walks.look(keys, cursor),
            self._pace.patience,
            begin_again=self._begin_again,
        )
        while (found := run(self._client, pages.turn())) is not None:
            self._moved.found += len(found)
            self._take(found)
            report(self._moved)
            self._rest(len(found))
        return self._moved

    def _begin_again(self) -> None:
        if self._is_dry_run:
            raise SessionStoreUnavailable(walks.SERVER_REPLACED)

    def _take(self, records: dict[str, bytes]) -> None:
        # A digest, left from before the keys were plain, would be a session key there.
        names = [name for name in records if self._store.keys.accepts(name)]
        self._moved.skipped += len(records) - len(names)
        marks = self._patiently(arrivals.marks(self._store.keys, names))
        there = self._other.present(names)
        new: dict[str, Found] = {}
        for name, mark in zip(names, marks, strict=True):
            found = left(name, records[name])
            if found is None:
                self._moved.skipped += 1
            elif mark == GONE or (name in there and has_changed(self._other.find(name), mark)):
                self._moved.known += 1
            else:
                new[name] = found
        if self._is_dry_run:
            self._moved.moved += len(new)
            return
        moved = copy(self._other, new, there, dict(zip(names, marks, strict=True)))
        lives = {name: int(new[name].life) for name in moved}
        self._patiently(arrivals.mark_gone(self._store.keys, lives))
        live = self._patiently(arrivals.present(self._store.keys, moved))
        for name, is_live in zip(moved, live, strict=True):
            if not is_live:
                # Signed out here meanwhile.
                self._other.delete(name)
                self._moved.ended += 1
        self._moved.moved += sum(live)
        self._moved.known += len(new) - len(moved)


def _other(source: str, cache: str | None, legacy_url: str | None, legacy_prefix: str) -> Engine:
    if source == LEGACY:
        if legacy_url is None:
            raise SessionStoreMisconfigured(
                f"Say where {LEGACY} kept its sessions, for example --legacy-url redis://localhost:6379/0 "
                f"and --legacy-prefix session."
            )
        return Legacy(legacy_url, legacy_prefix)
    if legacy_url is not None or legacy_prefix:
        raise SessionStoreMisconfigured(f"A legacy URL and prefix belong to {LEGACY} alone.")
    return engine(source, cache)


def _known(session_keys: Sequence[str]) -> Operation[list[bool]]:
    keys = conf.store().keys
    marks = yield from arrivals.marks(keys, session_keys)
    here = yield from arrivals.present(keys, session_keys)
    return [is_here or mark not in (None, GONE) for mark, is_here in zip(marks, here, strict=True)]


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
