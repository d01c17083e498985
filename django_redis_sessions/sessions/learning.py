"""What would make the stored sessions smaller?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from django_redis_sessions import conf, regions, training, walks
from django_redis_sessions.dictionaries import LARGEST_NUMBER, LARGEST_TEXT, SMALLEST_NUMBER, number_after
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.operations import Operation
from django_redis_sessions.walks import Progress


def train_dictionary(
    *,
    number: int | None = None,
    sample: int = training.USUAL_SAMPLE,
    size: int = training.USUAL_SIZE,
    rate: float = 1000,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> training.Training:
    """A preset dictionary for the project's sessions, and what it would save; changes nothing in Redis.

    Reads ``sample`` sessions, at most ``rate`` of them a second, and makes a dictionary of at most
    ``size`` bytes from text that many people's sessions share. ``number`` is one more than the
    highest that ``COMPRESSION`` names, unless given. ``progress`` is called after each 100 sessions.
    One round trip for each 500 keys of the database that are looked at, and one for each 100
    sessions; then some seconds of computing. Raises ``TooFewSessions`` when nothing comes of it.
    ``Training.dictionary.dumped()`` are the bytes of the file to name in ``COMPRESSION``. ``patience`` as
    in ``purge()``.
    """
    trainer = _Trainer(number, sample, size, rate, progress, patience)
    regions.in_turn(trainer.of_region).all()
    return trainer.training()


async def atrain_dictionary(
    *,
    number: int | None = None,
    sample: int = training.USUAL_SAMPLE,
    size: int = training.USUAL_SIZE,
    rate: float = 1000,
    progress: Callable[[Progress], object] = bool,
    patience: float = 0,
) -> training.Training:
    """Async twin of ``train_dictionary()``; computes in a thread."""
    trainer = _Trainer(number, sample, size, rate, progress, patience)
    (await regions.ain_turn(trainer.of_region)).all()
    return await asyncio.to_thread(trainer.training)


class _Trainer:
    """A dictionary whose sample is taken master by master."""

    def __init__(
        self,
        number: int | None,
        sample: int,
        size: int,
        rate: float,
        progress: Callable[[Progress], object],
        patience: float,
    ) -> None:
        codec = conf.store().codec
        self._number = _free_number(number, {dictionary.number for dictionary in codec.dictionaries})
        if not 0 < size <= LARGEST_TEXT:
            raise ValueError(f"size is {size}, but must be from 1 to {LARGEST_TEXT}")
        self._size = size
        self._missing = sample
        self._rate = rate
        self._progress = progress
        self._patience = patience
        self._sample = training.Sample(codec)

    def of_region(self) -> Operation[list[None]]:
        """Add the part of one region; later ones make up for what it does not have."""
        return walks.everywhere(self.of_node)

    def of_node(self, masters_left: int) -> Operation[None]:
        """Add one master's part of the sample; later ones make up for what it does not have."""
        limit = 0 if self._sample.is_full else -(-self._missing // masters_left)
        self._missing -= yield from walks.sample(
            conf.store().keys,
            self._take,
            limit=limit,
            rate=self._rate,
            progress=self._progress,
            patience=self._patience,
        )

    def _take(self, name: str, record: bytes) -> bool:
        return self._sample.add(record, conf.store().keys.handle_of(name))

    def training(self) -> training.Training:
        """What was learnt from the sample."""
        return self._sample.trained(self._number, self._size)


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
