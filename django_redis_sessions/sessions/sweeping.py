"""Which sessions are over without anybody having noticed, and is every session in its user's index?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import time

from django_redis_sessions import conf, indexes, regions
from django_redis_sessions.backend import SessionStore
from django_redis_sessions.executors import arun, run
from django_redis_sessions.footing import patiently
from django_redis_sessions.indexes import Claim
from django_redis_sessions.operations import Masters, Operation
from django_redis_sessions.sessions.shown import needs_index, user_id_in
from django_redis_sessions.signals import session_expired
from django_redis_sessions.walks import Pages, Progress

_log = logging.getLogger("django_redis_sessions")

Told = Callable[[str | None, str], object]


def sweep(told: Told | None = None, *, patience: float = 0) -> int:
    """Send ``session_expired`` for every session of a user whose time is up; their number.

    At least once for each: what a receiver raises is logged, and that session comes again after a
    minute, to this sweeper or another. Sessions that were over for more than an hour are not reported.
    Any number of sweepers share the work. One round trip for each 500 keys of the database, and four
    for each such page on which something is over. ``told(user_id, handle)`` is called after each.
    ``patience`` as in ``purge()``; what was claimed when only the answer was lost comes again after a
    minute. ``SessionStoreMisconfigured`` where ``USER_INDEX`` is off.
    """
    needs_index()
    reported = 0
    for region in regions.each():
        with regions.using(region):
            client, sweeping = conf.store().connections.client(), _Sweep(told, patience)
            while (claims := run(client, sweeping.claims())) is not None:
                for claim in claims:
                    with sweeping.reporting(claim) as handles:
                        for handle in handles:
                            session_expired.send(SessionStore, user_id=claim.user_id, handle=handle)
            reported += sweeping.reported
    return reported


async def asweep(told: Told | None = None, *, patience: float = 0) -> int:
    """Async twin of ``sweep()``."""
    needs_index()
    reported = 0
    for region in regions.each():
        with regions.using(region):
            client, sweeping = conf.store().connections.async_client(), _Sweep(told, patience)
            while (claims := await arun(client, sweeping.claims())) is not None:
                for claim in claims:
                    with sweeping.reporting(claim) as handles:
                        for handle in handles:
                            await session_expired.asend(SessionStore, user_id=claim.user_id, handle=handle)
            reported += sweeping.reported
    return reported


def reindex(progress: Callable[[Progress], object] = bool, *, patience: float = 0) -> int:
    """Note every stored session in its user's index; the number of those that have a user.

    For a project that turns ``USER_INDEX`` on, or has lost keys: sessions are noted when they are
    written, and those that were written before are not. Three round trips for each 100 keys of the
    database. May be stopped and repeated at any time.
    """
    return sum(regions.in_turn(partial(_reindexing, progress, patience)).all())


async def areindex(progress: Callable[[Progress], object] = bool, *, patience: float = 0) -> int:
    """Async twin of ``reindex()``."""
    return sum((await regions.ain_turn(partial(_reindexing, progress, patience))).all())


class _Sweep:
    """Claims what is over, page by page, counts what was reported, and takes it out."""

    def __init__(self, told: Told | None, patience: float) -> None:
        self.reported = 0
        self._told = told
        self._patience = patience
        self._keys = conf.store().keys
        self._pages: Pages[list[Claim]] | None = None
        self._done: list[Claim] = []

    def claims(self) -> Operation[list[Claim] | None]:
        """What is over on the next page, None at the end; what was reported of the last one is taken out."""
        yield from patiently(indexes.acknowledge(self._keys, self._done), self._patience)
        self._done = []
        if self._pages is None:
            self._pages = Pages((yield Masters()), self._claimed, self._patience)
        claims = yield from self._pages.turn()
        if not claims:
            return claims
        return (yield from patiently(indexes.settle(self._keys, claims, int(time())), self._patience))

    @contextmanager
    def reporting(self, claim: Claim) -> Iterator[list[str]]:
        """The handles to call receivers for, here; what one of them raises is logged, and the claim left."""
        handles = [self._keys.handle_of(name) for name in claim.expired]
        try:
            yield handles
        except Exception:  # receivers are the project's, and raise what they like
            _log.exception("A receiver of session_expired failed; it will be called again.")
            return
        self._done.append(claim)
        self.reported += len(handles)
        if self._told is not None:
            for handle in handles:
                self._told(claim.user_id, handle)

    def _claimed(self, cursor: int) -> Operation[tuple[int, list[Claim]]]:
        return indexes.claim(self._keys, cursor, int(time()))


def _reindexing(progress: Callable[[Progress], object], patience: float) -> Operation[int]:
    needs_index()
    return (yield from indexes.rebuild(conf.store().keys, user_id_in, int(time()), progress, patience))
