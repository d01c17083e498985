"""Which sessions are there, one by one?"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import time
from typing import Any, NamedTuple, TypeVar

from django_redis_sessions import conf, indexes, regions, walks
from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.executors import arun, run
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.keys import is_handle, user_marker
from django_redis_sessions.operations import Masters, Operation
from django_redis_sessions.records import owner_of
from django_redis_sessions.sessions.shown import (
    by_activity,
    data_in,
    described,
    handle_of,
    in_order,
    needs_index,
    user_id_of,
)
from django_redis_sessions.walks import Pages

T = TypeVar("T")

#: A page holds about so many sessions at least, unless so many times keys were looked at in vain.
FULL_PAGE, MOST_LOOKS = 50, 20


def of_user(user: object, current: Any = None) -> list[SessionInfo]:
    """A user's sessions, the last active first; ``user`` is a model instance or a primary key.

    ``current``, a session object or a session key, is marked. Two round trips, one more for each 100
    sessions beyond 100. ``SessionStoreMisconfigured`` where ``USER_INDEX`` is off. All regions are asked at a
    time; the sessions of one that is down are missing, and the log says so.
    """
    listing = partial(_infos_of_user, user, handle_of(current))
    return in_order(chain.from_iterable(regions.ask(listing).reachable()))


async def aof_user(user: object, current: Any = None) -> list[SessionInfo]:
    """Async twin of ``of_user()``."""
    listing = partial(_infos_of_user, user, handle_of(current))
    return in_order(chain.from_iterable((await regions.aask(listing)).reachable()))


def get(handle: str, current: Any = None) -> SessionInfo | None:
    """The session with this handle; None if there is none. One round trip.

    With ``KEYS: "plain"`` all sessions are looked through, for a handle does not lead to one. All regions are
    asked at a time; one that is down counts as if it had none, and the log says so.
    """
    return _first(regions.ask(partial(_info, handle, handle_of(current))))


async def aget(handle: str, current: Any = None) -> SessionInfo | None:
    """Async twin of ``get()``."""
    return _first(await regions.aask(partial(_info, handle, handle_of(current))))


def data(handle: str) -> dict[str, Any] | None:
    """All that the session with this handle holds, secrets included; None if there is none. As ``get()``.

    ``{}`` if it cannot be read.
    """
    return _first(regions.ask(partial(_data, handle)))


async def adata(handle: str) -> dict[str, Any] | None:
    """Async twin of ``data()``."""
    return _first(await regions.aask(partial(_data, handle)))


def iterate(*, anonymous: bool | None = None, patience: float = 0) -> Iterator[SessionInfo]:
    """Every session, in no order; with ``anonymous``, only those that nobody or somebody is signed in with.

    Two round trips for each 100 keys of the database, made as they are needed. A session that comes or
    goes meanwhile may be missed, and while Redis grows its table one can come twice. ``patience`` as in
    ``purge()``; from a server that was restarted meanwhile all come again. One region after the other.
    """
    for region in regions.each():
        with regions.using(region):
            client = conf.store().connections.client()
            pages = run(client, _beginning(patience))
        while (infos := _turned(region, run(client, pages.turn()), anonymous)) is not None:
            yield from infos


async def aiterate(*, anonymous: bool | None = None, patience: float = 0) -> AsyncIterator[SessionInfo]:
    """Async twin of ``iterate()``."""
    for region in regions.each():
        with regions.using(region):
            client = conf.store().connections.async_client()
            pages = await arun(client, _beginning(patience))
        while (infos := _turned(region, await arun(client, pages.turn()), anonymous)) is not None:
            for info in infos:
                yield info


@dataclass(frozen=True, slots=True)
class Page:
    """Some of all sessions, in no order, and the ``cursor`` of those that follow; None at the end."""

    infos: list[SessionInfo]
    next: str | None
    #: Regions that are down, of which nothing is on this page or the following ones.
    missing: tuple[str, ...] = ()


def page(
    cursor: str | None = None,
    *,
    anonymous: bool | None = None,
    limit: int | None = None,
    looks: int | None = MOST_LOOKS,
    patience: float = 0,
) -> Page:
    """Some sessions, from ``cursor`` on, which an earlier page has named; a wrong one starts anew.

    At least 50, or exactly ``limit``, if there are so many, unless 2,000 keys in a row are no such
    sessions: 100 for each of the ``looks``, None for as many as it takes. Two round trips for each 100
    keys that are looked at. ``patience`` as in ``purge()``; none comes twice on one page. One region comes
    after the other; one that is down is passed over, and ``missing``.
    """
    paged = _Paged(cursor, limit)
    while (part := paged.part()) is not None:
        paging = partial(_paging, part.cursor, anonymous, part.limit, looks, patience)
        with regions.using(part.region):
            paged.add(regions.ask(paging))
    return paged.page


async def apage(
    cursor: str | None = None,
    *,
    anonymous: bool | None = None,
    limit: int | None = None,
    looks: int | None = MOST_LOOKS,
    patience: float = 0,
) -> Page:
    """Async twin of ``page()``."""
    paged = _Paged(cursor, limit)
    while (part := paged.part()) is not None:
        paging = partial(_paging, part.cursor, anonymous, part.limit, looks, patience)
        with regions.using(part.region):
            paged.add(await regions.aask(paging))
    return paged.page


def is_cursor(text: str) -> bool:
    """Whether ``text`` has the form of what ``page()`` names the next page by."""
    region, _, rest = text.rpartition(_REGION_END)
    return _CURSOR(rest) is not None and region in ("", *regions.names())


def named(handle: str) -> Operation[str | None]:
    """The name of the session with this handle; None if there cannot be one. No round trip.

    Where ``KEYS`` names "plain", all sessions are looked through; where it names another scheme as well, for
    those that are not named by their handle, with one round trip more.
    """
    if not is_handle(handle):
        return None
    keys = conf.store().keys
    if not keys.may_be_plain:
        return handle
    if keys.are_moving and (yield ("EXISTS", keys.record_named(handle))):
        return handle
    found = yield from walks.find(keys, lambda name: keys.handle_of(name) == handle)
    # It may have got that name meanwhile, and what leads on from a former name leads on from its handle.
    return handle if found is None else found


def infos_of_user(user: object) -> Operation[list[SessionInfo]]:
    """A user's sessions, the last active first."""
    return by_activity((yield from _of_user(user)), "")


class _Part(NamedTuple):
    """What is to be asked of one region next."""

    region: str | None
    cursor: str | None
    limit: int | None


class _Paged:
    """A page that is put together of one region after the other; cursors begin with the name of the region."""

    def __init__(self, cursor: str | None, limit: int | None) -> None:
        region, _, self._cursor = (cursor or "").rpartition(_REGION_END)
        meant: list[str | None] = regions.each()
        self._left = meant[meant.index(region) :] if region in meant else meant
        self._limit = limit
        self._infos: list[SessionInfo] = []
        self._missing: list[str] = []
        self._trouble: SessionStoreUnavailable | None = None
        self._is_over = False

    def part(self) -> _Part | None:
        """What to ask next; None when the page is done."""
        wanted = (self._limit or FULL_PAGE) - len(self._infos)
        if self._is_over or not self._left or wanted <= 0:
            return None
        return _Part(self._left[0], self._cursor or None, None if self._limit is None else wanted)

    def add(self, answers: regions.Answers[Page]) -> None:
        """Take what came of it."""
        for region, error in answers.errors.items():
            self._trouble = error
            self._missing.append(region or "")
            self._go_on()
        for found in answers.results.values():
            self._infos += found.infos
            # Who has looked at as much as one may in vain stops as well.
            self._is_over = found.next is not None
            if found.next is None:
                self._go_on()
            else:
                self._cursor = found.next

    def _go_on(self) -> None:
        del self._left[0]
        self._cursor = ""

    @property
    def page(self) -> Page:
        """All that was found; raises what was met if that is all there is."""
        if self._trouble is not None and not self._infos and not self._left:
            raise self._trouble
        if not self._left:
            return Page(self._infos, None, tuple(self._missing))
        region, cursor = self._left[0], self._cursor or START
        following = cursor if region is None else f"{region}{_REGION_END}{cursor}"
        return Page(self._infos, following, tuple(self._missing))


def _first(answers: regions.Answers[T | None]) -> T | None:
    return next((found for found in answers.reachable() if found is not None), None)


def _infos_of_user(user: object, current: str) -> Operation[list[SessionInfo]]:
    return by_activity((yield from _of_user(user)), current)


def _info(handle: str, current: str) -> Operation[SessionInfo | None]:
    found = yield from _record(handle)
    return None if found is None else described(*found, current=current)


def _data(handle: str) -> Operation[dict[str, Any] | None]:
    found = yield from _record(handle)
    return None if found is None else data_in(*found) or {}


def _record(handle: str) -> Operation[tuple[str, bytes] | None]:
    name = yield from named(handle)
    if name is None:
        return None
    record = yield ("GET", conf.store().keys.record_named(name))
    return None if record is None else (name, record)


def _beginning(patience: float) -> Operation[Pages[dict[str, bytes]]]:
    keys = conf.store().keys
    return Pages((yield Masters()), lambda cursor: walks.look(keys, cursor), patience)


def _turned(
    region: str | None, found: dict[str, bytes] | None, anonymous: bool | None
) -> list[SessionInfo] | None:
    """The sessions on a page of this region, whichever one the reader is in by now; None behind the last."""
    with regions.using(region):
        return None if found is None else _meant(found, anonymous)


def _look(cursor: int) -> Operation[tuple[int, dict[str, bytes]]]:
    return walks.look(conf.store().keys, cursor)


def _meant(found: dict[str, bytes], anonymous: bool | None) -> list[SessionInfo]:
    return [
        described(name, record)
        for name, record in found.items()
        if anonymous is None or (owner_of(record) == b"") == anonymous
    ]


def _paging(
    cursor: str | None, anonymous: bool | None, limit: int | None, looks: int | None, patience: float
) -> Operation[Page]:
    servers = yield Masters()
    at, position, last = _parsed(cursor, len(servers))
    # Those of the servers before this one, and those of this one.
    before: dict[str, SessionInfo] = {}
    infos: dict[str, SessionInfo] = {}

    def begin_again() -> None:
        nonlocal last
        infos.clear()
        last = ""

    pages = Pages(servers, _look, patience, start=(at, position), begin_again=begin_again)
    looked = 0
    while not pages.is_over and (looks is None or looked < looks):
        if len(before) + len(infos) >= (limit or FULL_PAGE):
            break
        if pages.next[0] != pages.here[0]:
            before |= infos
            infos.clear()
        looked += 1
        some = _meant((yield from pages.turn()) or {}, anonymous)
        if limit is not None:
            # By handle, so that a page of Redis's which is cut can be gone on with, whatever comes and goes.
            some = [info for info in sorted(some, key=lambda info: info.handle) if info.handle > last]
        last = ""
        for number, info in enumerate(some):
            if limit is not None and len(before) + len(infos) >= limit:
                at, position = pages.here
                cut = f"{at}-{position}-{some[number - 1].handle}"
                return Page([*before.values(), *infos.values()], cut)
            infos[info.handle] = info
    at, position = pages.next
    return Page([*before.values(), *infos.values()], None if pages.is_over else f"{at}-{position}")


#: Where the sessions of a region begin.
START = "0-0"
_REGION_END = ":"
_CURSOR = re.compile(r"([0-9]{1,4})-([0-9]{1,20})(?:-([0-9A-Za-z_-]{24}))?", re.ASCII).fullmatch


def _parsed(cursor: str | None, nodes: int) -> tuple[int, int, str]:
    found = _CURSOR(cursor or "")
    if found is None or int(found[1]) >= nodes or int(found[2]) >= 1 << 64:
        return 0, 0, ""
    return int(found[1]), int(found[2]), found[3] or ""


def _of_user(user: object) -> Operation[dict[str, bytes]]:
    needs_index()
    return indexes.of_user(conf.store().keys, user_marker(user_id_of(user)), int(time()))
