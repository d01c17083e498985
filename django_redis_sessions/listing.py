"""Which sessions does one page of the admin's list show?

No page reads more than a bounded part of Redis, so it takes as long with a million sessions as with a
thousand. What is shown is in no order: Redis keeps none, and sorting would mean reading everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Any

from django.utils import timezone
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from django_redis_sessions import conf, people, sessions
from django_redis_sessions.devices import described
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.wording import worded

#: ``sessions.page()`` is called so often for one page of the list, if it finds nothing before.
MOST_FETCHES = 5
#: A search ends with so many finds, after so many sessions or so many calls; then the reader may go on.
FULL, LOOKED_THROUGH, MOST_FETCHES_TO_SEARCH = 50, 2000, 40

#: The filter's choices, and what each means to ``sessions.page()``.
WHO = {"": None, "users": False, "anonymous": True}

_LIKE_AN_ADDRESS = re.compile(r"[0-9a-f]*[.:][0-9a-f.:]*(/\d{1,3})?", re.ASCII | re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the reader of the list has asked for."""

    text: str = ""
    user_id: str = ""
    who: str = ""
    cursor: str | None = None
    #: How many sessions earlier pages of this search have looked through.
    seen: int = 0


@dataclass(frozen=True)
class Row:
    """One session as a reader sees it."""

    info: SessionInfo
    user: Any
    is_current: bool

    @property
    def handle(self) -> str:
        """The session's public name."""
        return self.info.handle

    @property
    def username(self) -> str:
        """The user's name; the bare id of a user who was deleted; "" without one."""
        return self.user.get_username() if self.user is not None else (self.info.user_id or "")

    @property
    def name(self) -> str:
        """What a reader calls the session by: mostly its user."""
        if not self.info.is_readable:
            return self.handle
        if self.info.is_anonymous:
            return _("Anonymous")
        return _("Deleted user %(id)s") % {"id": self.info.user_id} if self.user is None else self.username

    @cached_property
    def device(self) -> str:
        """The browser and the system in the reader's words."""
        return worded(self.info.user_agent)

    @property
    def description(self) -> str:
        """The session in a log that is kept for years: who and with what, without the address.

        In English, or it would be in the language of whoever has ended the session.
        """
        device = described(self.info.user_agent)
        return " · ".join(part for part in (self.username, device, self.handle) if part)[:200]

    created = property(lambda self: _local(self.info.created))
    last_seen = property(lambda self: _local(self.info.last_seen))
    expires = property(lambda self: _local(self.info.expires))

    @property
    def last_seen_ago(self) -> str:
        """How long ago, in words."""
        seen = self.info.last_seen
        if timezone.now() - seen < timedelta(minutes=1):
            return _("just now")
        return _("%(time)s ago") % {"time": timesince(seen, depth=1)}

    @property
    def expires_in(self) -> str:
        """How soon, in words."""
        return _("in %(time)s") % {"time": timeuntil(self.info.expires)}


@dataclass(slots=True)
class Listing:
    """One page of the list."""

    rows: list[Row]
    #: Where the next page begins; None if this is the last.
    next: str | None = None
    #: Whose sessions these are, by id, if that was asked; None for users who were deleted.
    users: dict[str, Any] = field(default_factory=dict)
    #: How many sessions were looked through so far; None if there was no need to.
    seen: int | None = None
    #: Regions that are down, so that their sessions are not in the list.
    missing: tuple[str, ...] = ()


def listing(question: Question, own_handle: str | None) -> Listing:
    """The page that was asked for; ``own_handle`` is that of the reader's session."""
    if question.user_id:
        users = {question.user_id: people.named([question.user_id]).get(question.user_id)}
        return _of_users(users, question, own_handle)
    if not question.text:
        return _some(question, own_handle)
    users = people.matching(question.text)
    if is_address(question.text) and not any(users.values()):
        return _searched(question, _at(question.text), own_handle)
    return _of_users(users, question, own_handle)


def rows(infos: Iterable[SessionInfo], own_handle: str | None) -> list[Row]:
    """Sessions with their users' names, which take one query."""
    infos = list(infos)
    users = people.named(info.user_id for info in infos if info.user_id is not None)
    return [
        Row(info, users.get(info.user_id) if info.user_id else None, info.handle == own_handle)
        for info in infos
    ]


def is_address(text: str) -> bool:
    """Whether this may be an address, the beginning of one or a network."""
    return _LIKE_AN_ADDRESS(text) is not None


def _of_users(users: dict[str, Any], question: Question, own_handle: str | None) -> Listing:
    if not conf.store().settings.user_index:
        return _searched(question, lambda info: info.user_id in users, own_handle)
    found = {user_id: sessions.of_user(user_id) for user_id in users} if question.who != "anonymous" else {}
    # A number that nobody has as an id and that has no sessions is nobody.
    meant = {user_id: user for user_id, user in users.items() if user is not None or found.get(user_id)}
    infos = [info for user_id in meant for info in found.get(user_id, [])]
    return Listing(
        [Row(info, meant.get(str(info.user_id)), info.handle == own_handle) for info in infos], users=meant
    )


def _some(question: Question, own_handle: str | None) -> Listing:
    """The sessions that come next."""
    cursor = question.cursor
    for _fetch in range(MOST_FETCHES):
        page = sessions.page(cursor, anonymous=WHO[question.who])
        cursor = page.next
        if page.infos or cursor is None:
            break
    return Listing(rows(page.infos, own_handle), cursor, missing=page.missing)


def _searched(
    question: Question, is_wanted: Callable[[SessionInfo], bool], own_handle: str | None
) -> Listing:
    """Those of the sessions that come next that are wanted."""
    cursor, looked_at = question.cursor, 0
    found: list[SessionInfo] = []
    for _fetch in range(MOST_FETCHES_TO_SEARCH):
        page = sessions.page(cursor, anonymous=WHO[question.who])
        cursor = page.next
        looked_at += len(page.infos)
        found += filter(is_wanted, page.infos)
        if cursor is None or len(found) >= FULL or looked_at >= LOOKED_THROUGH:
            break
    return Listing(rows(found, own_handle), cursor, seen=question.seen + looked_at)


def _at(text: str) -> Callable[[SessionInfo], bool]:
    """A test for coming from an address or a network, or from addresses that begin so."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        beginning = text.lower()
        return lambda info: (info.address or "").startswith(beginning)
    # What was no address has not come this far: ``devices`` gives none for it.
    return lambda info: info.address is not None and ip_address(info.address) in network


def _local(moment: datetime) -> datetime:
    return timezone.localtime(moment)
