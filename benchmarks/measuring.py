"""How do figures come about that a busy machine does not spoil?

Everybody is measured in every round, each time in another order, and a ratio is taken within its
round: whatever slows the machine down for a while slows both sides of it. What is reported is the
median over all rounds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter, process_time
from typing import Any, Protocol, TypeVar

from benchmarks.contenders import THIS, Contender
from benchmarks.traffic import Traffic

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch: seconds on the clock, and of this process's CPU, for one operation."""

    seconds: float
    cpu: float


@dataclass(slots=True)
class Series:
    """What one contender took for one case, round by round."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """On the clock, for one operation."""
        return [sample.seconds for sample in self.samples]

    @property
    def cpu(self) -> list[float]:
        """Of this process's CPU, for one operation."""
        return [sample.cpu for sample in self.samples]


class Measured(Protocol):
    """One contender in one case, after the measurement."""

    contender: Contender
    series: Series
    traffic: Traffic | None


def rotated(contenders: Sequence[T], turn: int) -> list[T]:
    """All of them, beginning with another one at each turn; every other turn backwards."""
    start = turn // 2 % len(contenders) if contenders else 0
    order = [*contenders[start:], *contenders[:start]]
    return order[::-1] if turn % 2 else order


@dataclass(frozen=True, slots=True)
class Rounds:
    """Counts rounds, from 0: ``least`` of them, and more for as long as ``seconds`` allow."""

    seconds: float
    least: int = 3
    most: int = 1_000

    def __iter__(self) -> Iterator[int]:
        start = perf_counter()
        for turn in range(self.most):
            # The next one takes about as long as those before.
            so_far = perf_counter() - start
            if turn >= self.least and so_far * (turn + 1) / turn > self.seconds:
                return
            yield turn


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median over the rounds of ours / theirs; None where nothing was measured."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    return median(pairs) if pairs else None


def compared(case: Sequence[Measured]) -> dict[str, Any]:
    """Each contender's medians in microseconds, this package's as a part of them, and every round."""
    (ours,) = (entry.series for entry in case if entry.contender == THIS)
    return {
        entry.contender.name: {
            "us": round(median(entry.series.seconds) * 1e6, 2),
            "cpu_us": round(median(entry.series.cpu) * 1e6, 2),
            "ratio": ratio(ours.seconds, entry.series.seconds),
            "cpu_ratio": ratio(ours.cpu, entry.series.cpu),
            **(asdict(entry.traffic) if entry.traffic else {}),
            "rounds_us": [round(seconds * 1e6, 2) for seconds in entry.series.seconds],
        }
        for entry in case
    }


def enough(first: float, least: float, smallest: int = 5, largest: int = 500) -> int:
    """How many operations of ``first`` seconds make a batch of at least ``least`` seconds."""
    wanted = least / first if first > 0 else largest
    return int(min(max(wanted + 1, smallest), largest))


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timed(operate: Callable[[T], object], items: Sequence[T]) -> tuple[Sample, list[object]]:
    """One batch: ``operate`` on each item; what it took for one of them, and all results."""
    with undisturbed():
        cpu, start = process_time(), perf_counter()
        results = [operate(item) for item in items]
        seconds, cpu = perf_counter() - start, process_time() - cpu
    return Sample(seconds / len(items), cpu / len(items)), results
