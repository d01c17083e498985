"""Which sessions are there, one by one?"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from time import time
from typing import Any

from django_redis_sessions import conf, indexes, walks
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
    needs_index,
    user_id_of,
)
from django_redis_sessions.walks import Pages

#: A page holds about so many sessions at least, unless so many times keys were looked at in vain.
FULL_PAGE, MOST_LOOKS = 50, 20


def of_user(user: object, current: Any = None) -> list[SessionInfo]:
    """A user's sessions, the last active first; ``user`` is a model instance or a primary key.

    ``current``, a session object or a session key, is marked. Two round trips, one more for each 100
    sessions beyond 100. ``SessionStoreMisconfigured`` where ``USER_INDEX`` is off.
    """
    found = run(conf.store().connections.client(), _of_user(user))
    return by_activity(found, handle_of(current))


async def aof_user(user: object, current: Any = None) -> list[SessionInfo]:
    """Async twin of ``of_user()``."""
    found = await arun(conf.store().connections.async_client(), _of_user(user))
    return by_activity(found, handle_of(current))


def get(handle: str, current: Any = None) -> SessionInfo | None:
    """The session with this handle; None if there is none. One round trip.

    With ``KEYS: "plain"`` all sessions are looked through, for a handle does not lead to one.
    """
    found = run(conf.store().connections.client(), _record(handle))
    return None if found is None else described(*found, current=handle_of(current))


async def aget(handle: str, current: Any = None) -> SessionInfo | None:
    """Async twin of ``get()``."""
    found = await arun(conf.store().connections.async_client(), _record(handle))
    return None if found is None else described(*found, current=handle_of(current))


def data(handle: str) -> dict[str, Any] | None:
    """All that the session with this handle holds, secrets included; None if there is none. As ``get()``.

    ``{}`` if it cannot be read.
    """
    found = run(conf.store().connections.client(), _record(handle))
    return None if found is None else data_in(*found) or {}


async def adata(handle: str) -> dict[str, Any] | None:
    """Async twin of ``data()``."""
    found = await arun(conf.store().connections.async_client(), _record(handle))
    return None if found is None else data_in(*found) or {}


def iterate(*, anonymous: bool | None = None, patience: float = 0) -> Iterator[SessionInfo]:
    """Every session, in no order; with ``anonymous``, only those that nobody or somebody is signed in with.

    Two round trips for each 100 keys of the database, made as they are needed. A session that comes or
    goes meanwhile may be missed, and while Redis grows its table one can come twice. ``patience`` as in
    ``purge()``; from a server that was restarted meanwhile all come again.
    """
    client = conf.store().connections.client()
    pages = run(client, _beginning(patience))
    while (found := run(client, pages.turn())) is not None:
        yield from _meant(found, anonymous)


async def aiterate(*, anonymous: bool | None = None, patience: float = 0) -> AsyncIterator[SessionInfo]:
    """Async twin of ``iterate()``."""
    client = conf.store().connections.async_client()
    pages = await arun(client, _beginning(patience))
    while (found := await arun(client, pages.turn())) is not None:
        for info in _meant(found, anonymous):
            yield info


@dataclass(frozen=True, slots=True)
class Page:
    """Some of all sessions, in no order, and the ``cursor`` of those that follow; None at the end."""

    infos: list[SessionInfo]
    next: str | None


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
    keys that are looked at. ``patience`` as in ``purge()``; none comes twice on one page.
    """
    paging = _paging(cursor, anonymous, limit, looks, patience)
    return run(conf.store().connections.client(), paging)


async def apage(
    cursor: str | None = None,
    *,
    anonymous: bool | None = None,
    limit: int | None = None,
    looks: int | None = MOST_LOOKS,
    patience: float = 0,
) -> Page:
    """Async twin of ``page()``."""
    paging = _paging(cursor, anonymous, limit, looks, patience)
    return await arun(conf.store().connections.async_client(), paging)


def is_cursor(text: str) -> bool:
    """Whether ``text`` has the form of what ``page()`` names the next page by."""
    return _CURSOR(text) is not None


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


def _record(handle: str) -> Operation[tuple[str, bytes] | None]:
    name = yield from named(handle)
    if name is None:
        return None
    record = yield ("GET", conf.store().keys.record_named(name))
    return None if record is None else (name, record)


def _beginning(patience: float) -> Operation[Pages[dict[str, bytes]]]:
    return Pages((yield Masters()), _look, patience)


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


_CURSOR = re.compile(r"([0-9]{1,4})-([0-9]{1,20})(?:-([0-9A-Za-z_-]{24}))?", re.ASCII).fullmatch


def _parsed(cursor: str | None, nodes: int) -> tuple[int, int, str]:
    found = _CURSOR(cursor or "")
    if found is None or int(found[1]) >= nodes or int(found[2]) >= 1 << 64:
        return 0, 0, ""
    return int(found[1]), int(found[2]), found[3] or ""


def _of_user(user: object) -> Operation[dict[str, bytes]]:
    needs_index()
    return indexes.of_user(conf.store().keys, user_marker(user_id_of(user)), int(time()))
