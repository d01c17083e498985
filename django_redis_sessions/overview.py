"""How many sessions are there, and how long do they still live, at a glance?

Above the admin's list. Taken from a sample, and kept for a minute, so that looking costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_redis_sessions import conf, sessions
from django_redis_sessions.census import Census
from django_redis_sessions.sessions import Statistics
from django_redis_sessions.store import Store

#: So many sessions are looked at.
SAMPLE = 1000
#: Seconds for which what was seen is good enough.
KEPT = 60

#: What the bars are called, in the order of ``census.LIFE_LABELS``.
LIFE_NAMES: tuple[str | Promise, ...] = (
    _("up to 1 hour"),
    _("1 to 24 hours"),
    _("1 to 7 days"),
    _("7 to 14 days"),
    _("14 to 30 days"),
    _("over 30 days"),
)

#: The picture's measures, in its own units: a row for each bar, with its name before and its count behind it.
ROW_HEIGHT, BAR_HEIGHT, BAR_LEFT, BAR_LONGEST, PICTURE_WIDTH = 20, 12, 100, 200, 360


class Figures:
    """The statistics of a sample, as they were at most a minute ago. For one process and all its threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: tuple[Store, float, Statistics] | None = None

    def statistics(self) -> Statistics:
        """Figures about some ``SAMPLE`` sessions; see ``sessions.statistics()``."""
        store, now, known = conf.store(), self._clock(), self._known
        # Another store is another project's, in tests: theirs are not the figures that were asked for.
        if known is None or known[0] is not store or now - known[1] >= KEPT:
            known = self._known = (store, now, sessions.statistics(sample=SAMPLE))
        return known[2]

    def forget(self) -> None:
        """Look again the next time: somebody has just ended sessions."""
        self._known = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the histogram; all measures are whole numbers, which every language writes alike."""

    name: str | Promise
    count: int
    top: int
    length: int

    left = BAR_LEFT
    height = BAR_HEIGHT

    @property
    def baseline(self) -> int:
        """Where the text beside the bar stands."""
        return self.top + BAR_HEIGHT - 2

    @property
    def after(self) -> int:
        """Where the count behind the bar begins."""
        return BAR_LEFT + self.length + 6


def bars(census: Census) -> list[Bar]:
    """The lifetimes that are left, as bars of which the longest is as long as a bar can be."""
    most = max(census.lives)
    return [
        # Not even a single session is too few to be seen.
        Bar(name, count, row * ROW_HEIGHT + 4, max(2, count * BAR_LONGEST // most) if count else 0)
        for row, (name, count) in enumerate(zip(LIFE_NAMES, census.lives, strict=True))
    ]


def height() -> int:
    """The picture's height in its own units."""
    return len(LIFE_NAMES) * ROW_HEIGHT + 4
