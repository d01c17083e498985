"""Does an operation on one session take longer when there are a thousand times as many?

All servers are there at the same time and are asked in turn, in rounds, so that whatever else the
machine does meets every size alike. What is compared are the medians of one round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.scale_filling import session_key

OPERATIONS = ("load", "load + save", "create", "cycle_key", "delete")
_ROUNDS = 15
_REPETITIONS = 150
_WARMING_UP = 30

#: Microseconds by operation, one median for each round.
Rounds = dict[str, list[float]]


def measured(
    settings: Mapping[int, dict[str, Any]], rounds: int = _ROUNDS, repetitions: int = _REPETITIONS
) -> dict[int, Rounds]:
    """The medians of each round by number of sessions and operation.

    ``settings`` are the ``SESSION_REDIS`` of each server, by its number of sessions.
    """
    dice = random.Random(2)
    found: dict[int, Rounds] = {size: {name: [] for name in OPERATIONS} for size in settings}
    for _ in range(rounds):
        for size in dice.sample(sorted(settings), len(settings)):
            with _sessions_in(settings[size]):
                for name, times in _one_round(dice, size, repetitions).items():
                    found[size][name].append(median(times) * 1e6)
    return found


def ratio(rounds: list[float], first: list[float]) -> float:
    """How much longer than at the first size: the median of the rounds' ratios."""
    return median(here / there for here, there in zip(rounds, first, strict=True))


@contextmanager
def _sessions_in(settings: dict[str, Any]) -> Iterator[None]:
    from django.test import override_settings

    with override_settings(SESSION_REDIS=settings):
        yield


def _one_round(dice: random.Random, size: int, repetitions: int) -> dict[str, list[float]]:
    from django_redis_sessions.backend import SessionStore

    def anybody() -> Any:
        return SessionStore(session_key(dice.randrange(size)))

    for _ in range(_WARMING_UP):
        anybody().load()
    times: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    for _ in range(repetitions):
        session = anybody()
        times["load"].append(_seconds(session.load))
        times["load + save"].append(_seconds(lambda: _load_and_save(anybody(), dice.random())))
        # A session of its own, so that each server keeps the number it has.
        session = SessionStore()
        session["cart"] = [{"product_id": 4211, "quantity": 1}]
        times["create"].append(_seconds(session.create))
        times["cycle_key"].append(_seconds(session.cycle_key))
        times["delete"].append(_seconds(session.delete))
    return times


def _load_and_save(session: Any, value: float) -> None:
    session["seen"] = value
    session.save()


def _seconds(function: Callable[[], object]) -> float:
    started = perf_counter()
    function()
    return perf_counter() - started
