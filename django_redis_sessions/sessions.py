"""What can an operator see of the stored sessions, and do with them?

The functions behind ``manage.py redis_sessions``, for use from Python too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import time
from typing import Any, TypeVar

from django_redis_sessions import census, conf, training, walks
from django_redis_sessions.dictionaries import LARGEST_NUMBER, LARGEST_TEXT, SMALLEST_NUMBER, number_after
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.executors import arun, run
from django_redis_sessions.keys import user_marker
from django_redis_sessions.operations import Operation
from django_redis_sessions.walks import Progress

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Statistics:
    """The stored sessions in figures, and the server they are on; see ``as_dict()`` for units."""

    census: census.Census
    server: dict[str, Any]
    #: All keys of the database, of whatever kind; None where the server does not say.
    keys_in_database: int | None
    #: Whether the census stopped before it had seen every session.
    sampled: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; sizes and memory in bytes."""
        return {
            **self.census.summary(),
            "sampled": self.sampled,
            "keys_in_database": self.keys_in_database,
            "server": self.server,
        }


def statistics(sample: int | None = None, progress: Callable[[Progress], object] = bool) -> Statistics:
    """Figures about all sessions, or about some ``sample`` of them.

    One round trip for every 500 keys in the database, none of them long for the server. Raises
    ``SessionStoreError``. ``progress`` is called after each page.
    """
    survey = _Survey(sample, progress)
    for node in conf.store().connections.client().nodes():
        run(node, survey.of_node())
    return survey.statistics()


async def astatistics(sample: int | None = None, progress: Callable[[Progress], object] = bool) -> Statistics:
    """Async twin of ``statistics()``."""
    survey = _Survey(sample, progress)
    for node in await conf.store().connections.async_client().nodes():
        await arun(node, survey.of_node())
    return survey.statistics()


def purge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> int:
    """End every session that meets all given conditions (all sessions, if none is given); their number.

    ``user`` is a user's primary key, durations are in seconds: ``older_than`` since the sign-in,
    ``idle`` since its life was last extended. One round trip for every 500 keys in the database. May be
    stopped and repeated at any time. ``progress`` is called after each page.
    """
    wanted = _wanted(anonymous, user, older_than, idle)
    ended = 0
    for node in conf.store().connections.client().nodes():
        ended += run(node, _purging(wanted, dry_run, progress))
    return ended


async def apurge(
    *,
    anonymous: bool = False,
    user: object = None,
    older_than: float | None = None,
    idle: float | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], object] = bool,
) -> int:
    """Async twin of ``purge()``."""
    wanted = _wanted(anonymous, user, older_than, idle)
    ended = 0
    for node in await conf.store().connections.async_client().nodes():
        ended += await arun(node, _purging(wanted, dry_run, progress))
    return ended


def train_dictionary(
    *,
    number: int | None = None,
    sample: int = training.USUAL_SAMPLE,
    size: int = training.USUAL_SIZE,
    rate: float = 1000,
    progress: Callable[[Progress], object] = bool,
) -> training.Training:
    """A preset dictionary for the project's sessions, and what it would save; changes nothing in Redis.

    Reads ``sample`` sessions, at most ``rate`` of them a second, and makes a dictionary of at most
    ``size`` bytes from text that many people's sessions share. ``number`` is one more than the
    highest that ``COMPRESSION`` names, unless given. ``progress`` is called after each 100 sessions.
    One round trip for each 500 keys of the database that are looked at, and one for each 100
    sessions; then some seconds of computing. Raises ``TooFewSessions`` when nothing comes of it.
    ``Training.dictionary.dumped()`` are the bytes of the file to name in ``COMPRESSION``.
    """
    trainer = _Trainer(number, sample, size, rate, progress)
    for share, node in _shares(conf.store().connections.client().nodes()):
        run(node, trainer.of_node(share))
    return trainer.training()


async def atrain_dictionary(
    *,
    number: int | None = None,
    sample: int = training.USUAL_SAMPLE,
    size: int = training.USUAL_SIZE,
    rate: float = 1000,
    progress: Callable[[Progress], object] = bool,
) -> training.Training:
    """Async twin of ``train_dictionary()``; computes in a thread."""
    trainer = _Trainer(number, sample, size, rate, progress)
    for share, node in _shares(await conf.store().connections.async_client().nodes()):
        await arun(node, trainer.of_node(share))
    return await asyncio.to_thread(trainer.training)


def server_facts() -> list[dict[str, str]]:
    """Each master's INFO by name, ``{}`` where an ACL rule forbids it. One round trip for each master."""
    return [run(node, walks.server_info()) for node in conf.store().connections.client().nodes()]


class _Survey:
    """Statistics that are added up master by master."""

    def __init__(self, sample: int | None, progress: Callable[[Progress], object]) -> None:
        self._sample = sample
        self._progress = progress
        self._census = census.Census()
        self._infos: list[dict[str, str]] = []
        self._is_complete = True

    def of_node(self) -> Operation[None]:
        """Add one master's sessions, unless the sample is large enough already."""
        self._infos.append((yield from walks.server_info()))
        if self._sample is not None and self._census.sessions >= self._sample:
            self._is_complete = False
            return
        yield from walks.survey(conf.store().keys, self._census, limit=self._sample, progress=self._progress)
        self._is_complete = self._is_complete and self._census.is_complete

    def statistics(self) -> Statistics:
        """What was added up."""
        keys = [int(info["dbsize"]) for info in self._infos if "dbsize" in info]
        return Statistics(
            census=self._census,
            server=census.server_facts(self._infos),
            keys_in_database=sum(keys) if keys else None,
            sampled=not self._is_complete,
        )


def _purging(
    wanted: Callable[[bytes], bool], dry_run: bool, progress: Callable[[Progress], object]
) -> Operation[int]:
    store = conf.store()
    return walks.purge(
        store.keys, wanted, dry_run=dry_run, one_by_one=store.connections.is_cluster, progress=progress
    )


class _Trainer:
    """A dictionary whose sample is taken master by master."""

    def __init__(
        self,
        number: int | None,
        sample: int,
        size: int,
        rate: float,
        progress: Callable[[Progress], object],
    ) -> None:
        codec = conf.store().codec
        self._number = _free_number(number, {dictionary.number for dictionary in codec.dictionaries})
        if not 0 < size <= LARGEST_TEXT:
            raise ValueError(f"size is {size}, but must be from 1 to {LARGEST_TEXT}")
        self._size = size
        self._missing = sample
        self._rate = rate
        self._progress = progress
        self._sample = training.Sample(codec)

    def of_node(self, masters_left: int) -> Operation[None]:
        """Add one master's part of the sample; later ones make up for what it does not have."""
        limit = 0 if self._sample.is_full else -(-self._missing // masters_left)
        self._missing -= yield from walks.sample(
            conf.store().keys, self._sample.add, limit=limit, rate=self._rate, progress=self._progress
        )

    def training(self) -> training.Training:
        """What was learnt from the sample."""
        return self._sample.trained(self._number, self._size)


def _shares(nodes: list[N]) -> Iterator[tuple[int, N]]:
    """Each master with the number of masters that are left, itself included."""
    return zip(range(len(nodes), 0, -1), nodes, strict=True)


def _free_number(number: int | None, taken: set[int]) -> int:
    if number is None:
        return number_after(taken)
    if not SMALLEST_NUMBER <= number <= LARGEST_NUMBER:
        raise ValueError(f"number is {number}, but must be from {SMALLEST_NUMBER} to {LARGEST_NUMBER}")
    if number in taken:
        raise SessionStoreMisconfigured(
            f"SESSION_REDIS['COMPRESSION'] names a dictionary with number {number} already. "
            f"Records that need it could not be told from others: choose another number."
        )
    return number


def _wanted(
    anonymous: bool, user: object, older_than: float | None, idle: float | None
) -> Callable[[bytes], bool]:
    return census.matching(
        now=time(),
        anonymous=anonymous,
        user=None if user is None else user_marker(str(user)),
        older_than=older_than,
        idle=idle,
    )
