"""Which sessions are the largest, the newest, or the longest without a visit?

Redis keeps sessions in no order, so all of them are looked at; what is kept in memory is as much as is
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import chain
from typing import Any

from django_redis_sessions import conf, regions, walks
from django_redis_sessions.errors import CorruptRecord
from django_redis_sessions.footing import Pace
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import Command, Operation
from django_redis_sessions.records import LONGEST_HEADER, header_of, owner_of
from django_redis_sessions.sessions.looking import Page, infos_of_user
from django_redis_sessions.sessions.shown import described, user_id_of
from django_redis_sessions.walks import Progress

#: What sessions may be sorted by: the longest idle, the largest or the newest come first.
ORDERS = ("idle", "size", "created")

# A session's place: what it is sorted by, and among equals its handle.
_Place = tuple[int, str]


def ranked(
    order: str,
    limit: int = 50,
    *,
    anonymous: bool | None = None,
    user: object = None,
    cursor: str | None = None,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> Page:
    """The first ``limit`` sessions in one of the ``ORDERS``, or those that follow another page's ``next``.

    Of all, of those that nobody or somebody is signed in with (``anonymous``), or of one ``user``, a
    model instance or a primary key. One round trip for every 500 keys in the database, and one for each 100
    sessions of the page; with ``USER_INDEX`` those of one user take as many as ``of_user()``. ``ValueError``
    for another order, and for a cursor of another one. ``patience`` as in ``purge()``.
    """
    ranking = _Ranking(order, limit, anonymous, user, cursor)
    regions.in_turn(partial(_ranking, ranking, progress, patience)).all()
    return ranking.page(regions.ask(ranking.infos).all())


async def aranked(
    order: str,
    limit: int = 50,
    *,
    anonymous: bool | None = None,
    user: object = None,
    cursor: str | None = None,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> Page:
    """Async twin of ``ranked()``."""
    ranking = _Ranking(order, limit, anonymous, user, cursor)
    (await regions.ain_turn(partial(_ranking, ranking, progress, patience))).all()
    return ranking.page((await regions.aask(ranking.infos)).all())


def _ranking(ranking: _Ranking, progress: Callable[[Progress], object], patience: float) -> Operation[None]:
    keys, pace = conf.store().keys, Pace(patience=patience)
    if ranking.user is not None and conf.store().settings.user_index:
        for info in (yield from infos_of_user(ranking.user)):
            ranking.consider(info.handle, info)
    else:
        yield from walks.everywhere(lambda _: walks.walk(keys, ranking, progress, pace=pace))


class _Ranking:
    """The first sessions of an order, from all servers: an errand of ``walks.walk()``."""

    is_enough = False

    def __init__(
        self, order: str, limit: int, anonymous: bool | None, user: object, cursor: str | None
    ) -> None:
        if order not in ORDERS:
            raise ValueError(f"order is {order!r}, but must be one of {', '.join(map(repr, ORDERS))}")
        self.user = user
        self._marker = None if user is None else user_marker(user_id_of(user))
        self._order, self._limit, self._anonymous = order, limit, anonymous
        self._after = _parsed(cursor, order)
        # The worst at the front; one more than is asked for, to know whether there is another page.
        self._best: list[tuple[_Place, Any]] = []
        self._kept: set[str] = set()
        self._names: list[bytes] = []
        self._seen = 0

    def consider(self, handle: str, info: SessionInfo) -> None:
        """Keep a session if it is among the first."""
        if self._anonymous is not True:
            value = {
                "idle": -int(info.last_seen.timestamp()),
                "size": info.size,
                "created": int(info.created.timestamp()),
            }[self._order]
            self._keep((value, handle), info)

    def commands(self, names: list[bytes]) -> list[Command]:
        self._names = names
        looks: list[Command] = [("GETRANGE", name, 0, LONGEST_HEADER - 1) for name in names]
        sizes: list[Command] = [("STRLEN", name) for name in names] if self._order == "size" else []
        return [*looks, *sizes]

    def receive(self, replies: list[Any]) -> None:
        keys = conf.store().keys
        starts, sizes = replies[: len(self._names)], replies[len(self._names) :]
        for at, (name, start) in enumerate(zip(self._names, starts, strict=True)):
            # Gone since the SCAN, or replaced by another kind of key.
            if not start or isinstance(start, Exception) or not self._is_meant(start):
                continue
            self._seen += 1
            value = sizes[at] if sizes else self._value(start)
            if isinstance(value, int):
                called = keys.name_in(name)
                self._keep((value, keys.handle_of(called)), (conf.store().region, called))

    def progress(self) -> tuple[int, int]:
        return self._seen, 0

    def begin_again(self) -> bool:
        return True

    def infos(self) -> Operation[list[SessionInfo]]:
        """Those of one region that are among the first; sessions that are gone by now are missing."""
        store = conf.store()
        infos: list[SessionInfo] = []
        named = []
        for _, session in self._found:
            if isinstance(session, SessionInfo):
                infos += [session] if session.region == store.region else []
            elif session[0] == store.region:
                named.append(session[1])
        for start in range(0, len(named), walks.BATCH):
            batch = named[start : start + walks.BATCH]
            records = yield [("GET", store.keys.record_named(name)) for name in batch]
            infos += [
                described(name, record)
                for name, record in zip(batch, records, strict=True)
                if isinstance(record, bytes)
            ]
        return infos

    def page(self, found: Iterable[list[SessionInfo]]) -> Page:
        """All of them in their order."""
        by_handle = {info.handle: info for info in chain.from_iterable(found)}
        infos = [by_handle[handle] for (_, handle), _ in self._found if handle in by_handle]
        if len(self._best) <= self._limit:
            return Page(infos, None)
        value, handle = self._found[-1][0]
        return Page(infos, f"{self._order}:{value}:{handle}")

    @property
    def _found(self) -> list[tuple[_Place, Any]]:
        return sorted(self._best, key=lambda each: each[0], reverse=True)[: self._limit]

    def _is_meant(self, start: bytes) -> bool:
        owner = owner_of(start)
        if self._marker is not None:
            return owner == self._marker
        return self._anonymous is None or (owner == b"") == self._anonymous

    def _value(self, start: bytes) -> int:
        try:
            header = header_of(start)
        except CorruptRecord:
            return 0
        return -header.touched if self._order == "idle" else header.created

    def _keep(self, place: _Place, session: Any) -> None:
        # A session may be seen twice while Redis resizes its table.
        if (self._after is not None and place >= self._after) or place[1] in self._kept:
            return
        if len(self._best) > self._limit:
            if place <= self._best[0][0]:
                return
            self._kept.remove(heappop(self._best)[0][1])
        heappush(self._best, (place, session))
        self._kept.add(place[1])


_CURSOR = re.compile(r"([a-z]+):(-?[0-9]{1,20}):([0-9A-Za-z_-]{24})", re.ASCII).fullmatch


def _parsed(cursor: str | None, order: str) -> _Place | None:
    if not cursor:
        return None
    found = _CURSOR(cursor)
    if found is None or found[1] != order:
        raise ValueError(f"the cursor is not one of a page that is sorted by {order}")
    return int(found[2]), found[3]
