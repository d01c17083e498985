"""What does each operation cost a synchronous request, one at a time?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.content import CONTENTS
from benchmarks.measuring import Rounds, Series, compared, enough, rotated, timed
from benchmarks.traffic import Counter, Traffic
from benchmarks.workers import Worker, worker

#: Sessions that the operations of a batch take in turn, where they leave them as they were.
SESSIONS = 20
#: Operations over which the server's counters are read.
COUNTED = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a request does, to sessions with one content."""

    name: str
    #: The method of a worker.
    method: str
    content: str = "typical"
    #: Whether it uses its sessions up, so that each operation needs one of its own.
    uses_up: bool = False

    @property
    def is_of_a_size(self) -> bool:
        """Whether it is one of a row of sizes."""
        return "," in self.name

    @property
    def makes_sessions(self) -> bool:
        """Whether there is a session more after it, or another one."""
        return self.method in ("create", "sign_in")


CASES = (
    Case("load", "load"),
    Case("load + save", "save"),
    Case("create", "create"),
    Case("delete", "delete", uses_up=True),
    Case("sign-in", "sign_in", "anonymous", uses_up=True),
    Case("save unchanged", "touch"),
    *(Case(f"load, {size}", "load", size) for size in ("0.2 kB", "1 kB", "10 kB", "100 kB")),
    *(Case(f"load + save, {size}", "save", size) for size in ("0.2 kB", "1 kB", "10 kB", "100 kB")),
)


class Entry:
    """One contender in one case."""

    def __init__(self, case: Case, contender: Contender, working: Worker) -> None:
        self.case = case
        self.contender = contender
        self.series = Series()
        self.traffic: Traffic | None = None
        self._worker = working
        self._operate: Callable[[Any], object] = getattr(working, case.method)
        self._content = CONTENTS[case.content]
        self._kept: list[Any] = []
        self._operations = 5

    def prepare(self, counter: Counter, least: float) -> None:
        """Warm up, count what travels, and find out how many operations make a batch."""
        self.contender.turn_to()
        if not self.case.uses_up and self.case.method != "create":
            self._kept = [self._worker.create(self._content) for _ in range(SESSIONS)]
        self._batch(5)
        if self.contender.is_on_redis:
            items = self._items(COUNTED)
            before = counter.look()
            made = [self._operate(item) for item in items]
            self.traffic = counter.since(before, COUNTED)
            self._clear(made)
        self._operations = enough(self._batch(5).samples[-1].seconds, least)

    def measure(self) -> None:
        """One more round."""
        self.contender.turn_to()
        self.series.samples += self._batch(self._operations).samples

    def finish(self) -> None:
        """Leave nothing behind."""
        self.contender.turn_to()
        for key in self._kept:
            self._worker.delete(key)

    def _batch(self, operations: int) -> Series:
        sample, made = timed(self._operate, self._items(operations))
        self._clear(made)
        return Series([sample])

    def _items(self, number: int) -> Sequence[Any]:
        if self.case.method == "create":
            return [self._content] * number
        if self.case.uses_up:
            return [self._worker.create(self._content) for _ in range(number)]
        return list(islice(cycle(self._kept), number))

    def _clear(self, made: list[object]) -> None:
        if self.case.makes_sessions:
            for key in made:
                self._worker.delete(str(key))


def measure(
    contenders: Sequence[Contender],
    path: str,
    *,
    cases: Sequence[Case],
    rounds: Rounds,
    least: float,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """``{case: {contender: figures}}``; a batch takes at least ``least`` seconds."""
    workers = {contender: worker(contender, path) for contender in contenders}
    entries = [[Entry(case, contender, workers[contender]) for contender in contenders] for case in cases]
    counter = Counter(path)
    for case in entries:
        progress(f"warming up: {case[0].case.name}")
        for entry in case:
            entry.prepare(counter, least)
    counter.close()
    for turn in rounds:
        progress(f"round {turn + 1}")
        for case in entries:
            for entry in rotated(case, turn):
                entry.measure()
    for case in entries:
        for entry in case:
            entry.finish()
    return {case[0].case.name: compared(case) for case in entries}
