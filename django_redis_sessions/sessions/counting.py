"""How many sessions are there, and what do they look like as a whole?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django_redis_sessions import census, conf, regions, walks
from django_redis_sessions.footing import Pace
from django_redis_sessions.operations import Operation
from django_redis_sessions.walks import Progress


@dataclass(frozen=True, slots=True)
class Statistics:
    """The stored sessions in figures, and the server they are on; see ``as_dict()`` for units."""

    census: census.Census
    server: dict[str, Any]
    #: All keys of the database, of whatever kind; None where the server does not say.
    keys_in_database: int | None
    #: Whether the census stopped before it had seen every session.
    sampled: bool
    #: Regions that are down, whose sessions are not in the figures.
    missing: tuple[str, ...] = ()

    @property
    def largest(self) -> list[tuple[str, int]]:
        """Handles and record sizes in bytes of the ten largest sessions, the largest first."""
        keys = conf.store().keys
        sized = ((keys.handle_of(keys.name_in(name)), size) for name, size in self.census.largest.items())
        return sorted(sized, key=lambda each: (-each[1], each[0]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; sizes and memory in bytes."""
        return {
            **self.census.summary(),
            "largest": [{"handle": handle, "size": size} for handle, size in self.largest],
            "sampled": self.sampled,
            "keys_in_database": self.keys_in_database,
            "server": self.server,
            **({"missing_regions": [*self.missing]} if self.missing else {}),
        }


def statistics(
    sample: int | None = None, progress: Callable[[Progress], object] = bool, *, patience: float = 0
) -> Statistics:
    """Figures about all sessions, or about some ``sample`` of them.

    One round trip for every 500 keys in the database, none of them long for the server. Raises
    ``SessionStoreError``. ``progress`` is called after each page. ``patience`` as in ``purge()``; a
    server that was restarted meanwhile is an error, since its sessions could be counted twice. Those of all
    regions together; one that is down is ``missing``.
    """
    survey = _Survey(sample, progress, patience)
    return survey.statistics(regions.in_turn(survey.of_region))


async def astatistics(
    sample: int | None = None, progress: Callable[[Progress], object] = bool, *, patience: float = 0
) -> Statistics:
    """Async twin of ``statistics()``."""
    survey = _Survey(sample, progress, patience)
    return survey.statistics(await regions.ain_turn(survey.of_region))


def count() -> int:
    """The exact number of stored sessions. One round trip for every 500 keys of the database.

    Those of all regions together, counted at a time; ``SessionStoreUnavailable`` if one is down.
    """
    return sum(regions.ask(_counting).all())


async def acount() -> int:
    """Async twin of ``count()``."""
    return sum((await regions.aask(_counting)).all())


def server_facts() -> list[dict[str, str]]:
    """Each master's INFO by name, ``{}`` where an ACL rule forbids it. One round trip for each master."""
    asked = regions.ask(lambda: walks.everywhere(lambda _: walks.server_info()))
    return [*chain.from_iterable(asked.all())]


def _counting() -> Operation[int]:
    keys = conf.store().keys
    counts = yield from walks.everywhere(lambda _: walks.purge(keys, census.everything, dry_run=True))
    return sum(counts)


class _Survey:
    """Statistics that are added up master by master."""

    def __init__(self, sample: int | None, progress: Callable[[Progress], object], patience: float) -> None:
        self._sample = sample
        self._progress = progress
        self._pace = Pace(patience=patience)
        self._census = census.Census()
        self._infos: list[dict[str, str]] = []
        self._is_complete = True

    def of_region(self) -> Operation[list[None]]:
        """Add what is on the masters of one region."""
        return walks.everywhere(lambda _: self.of_node())

    def of_node(self) -> Operation[None]:
        """Add one master's sessions, unless the sample is large enough already."""
        self._infos.append((yield from walks.server_info()))
        if self._sample is not None and self._census.sessions >= self._sample:
            self._is_complete = False
            return
        yield from walks.survey(
            conf.store().keys, self._census, limit=self._sample, progress=self._progress, pace=self._pace
        )
        self._is_complete = self._is_complete and self._census.is_complete

    def statistics(self, answers: regions.Answers[list[None]]) -> Statistics:
        """What was added up."""
        answers.reachable()
        missing = tuple(region for region in answers.errors if region is not None)
        keys = [int(info["dbsize"]) for info in self._infos if "dbsize" in info]
        return Statistics(
            census=self._census,
            server=census.server_facts(self._infos),
            keys_in_database=sum(keys) if keys else None,
            sampled=not self._is_complete or bool(missing),
            missing=missing,
        )
