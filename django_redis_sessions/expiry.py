"""How long does Redis keep a record?

Pure arithmetic over what Django's expiry methods return: no clock, no settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: The longest life a record can have, in seconds (136 years): what fits into the record's header.
LONGEST_TTL = 2**32 - 1


def ttl_for(expiry_age: float) -> int | None:
    """Whole seconds Redis should keep a record, or None when its time is already up.

    Rounds up, so a record outlives the cookie that names it. Zero and below give None because
    Redis refuses ``EX 0`` (https://redis.io/docs/latest/commands/set/). Not-a-number counts as
    over, infinity as the longest life.
    """
    if not expiry_age > 0:
        return None
    if expiry_age >= LONGEST_TTL:
        return LONGEST_TTL
    return math.ceil(expiry_age)


def index_score(touched: int, ttl: int) -> int:
    """The second, rounded up, in which a session that was touched then is surely over.

    Rounded to steps of at most a 64th of its life, so that a user's index is written to only now and
    then, however often the session is: as long as the score stays the same, so does the index.
    """
    step = 1 << max(0, (ttl // 64).bit_length() - 1)
    return -(-(touched + ttl) // step) * step


def comparable(expiry: Any, modification: datetime, make_aware: Callable[[datetime], datetime]) -> Any:
    """``expiry`` as Django stores it, made comparable with ``modification``.

    A session stored before ``USE_TZ`` was switched holds an instant of the other kind, and
    ``SessionBase.get_expiry_age()`` would fail on the difference of the two. Naive instants are
    read in the current time zone, which is how Django wrote them.
    """
    if isinstance(expiry, str):
        expiry = datetime.fromisoformat(expiry)
    if not isinstance(expiry, datetime):
        return expiry
    if expiry.tzinfo is None and modification.tzinfo is not None:
        return make_aware(expiry)
    if expiry.tzinfo is not None and modification.tzinfo is None:
        return expiry.astimezone().replace(tzinfo=None)
    return expiry


def idle_life(expiry: Any, usual: float, now: datetime) -> float:
    """Seconds that a session may lie idle whose ``_session_expiry`` this is, as Django reckons.

    A number of seconds; ``usual`` if it says nothing (None, or 0 for a cookie that ends with the browser);
    what is left until an instant, a ``datetime`` or its ISO text. ``now`` is aware, and an instant that is
    naive is in this machine's time zone.
    """
    if not expiry:
        return usual
    expiry = comparable(expiry, now, datetime.astimezone)
    if not isinstance(expiry, datetime):
        return expiry  # type: ignore[no-any-return]  # whatever was set is what Django returns
    left = expiry - now
    return left.days * 86_400 + left.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long sessions of one project live; durations in seconds, times in seconds since 1970.

    ``rolling`` is the share (0 to 1) of its idle life that a session must have behind it before
    reading it extends that life; None if reading never does.
    """

    anonymous_ttl: int | None = None
    absolute_ttl: int | None = None
    probation_ttl: int | None = None
    rolling: float | None = None

    def ttl(
        self, idle_life: float, *, created: int, now: int, is_anonymous: bool, is_new: bool = False
    ) -> int | None:
        """The ttl to store a session with, or None when its time is up.

        ``idle_life`` is what Django says. ``is_new``: its cookie has not come back yet.
        """
        limits = [idle_life]
        if is_anonymous and self.anonymous_ttl is not None:
            limits.append(self.anonymous_ttl)
        if is_anonymous and is_new and self.probation_ttl is not None:
            limits.append(self.probation_ttl)
        if self.absolute_ttl is not None:
            limits.append(created + self.absolute_ttl - now)
        return ttl_for(min(limits))

    def is_over(self, created: int, now: int) -> bool:
        """Whether a session has reached its absolute limit, however active it is."""
        return self.absolute_ttl is not None and now >= created + self.absolute_ttl

    @property
    def are_extended_on_read(self) -> bool:
        """Whether reading a session may ever extend its life."""
        return self.rolling is not None or self.probation_ttl is not None

    def extends_on_read(
        self, *, touched: int, given: int, possible: int, now: int, is_anonymous: bool
    ) -> bool:
        """Whether reading a session is the moment to extend its life.

        ``given`` is the ttl that its life had when it was ``touched``, ``possible`` the one it would be
        stored with now.
        """
        if is_anonymous and self.probation_ttl is not None and given <= self.probation_ttl < possible:
            return True
        if self.rolling is None:
            return False
        # What has gone of the life, whoever has been seen in between. A fixed end stays where it
        # is, and both sides of it are rounded to seconds.
        gone = now + possible - (touched + given)
        return gone > max(self.rolling * possible, 1)
