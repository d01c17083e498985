#!/usr/bin/env python3
"""Try changed inputs on everything that reads what others have written, for as long as there is time.

``python -m tools.fuzz --minutes 120`` goes round the targets of ``tests/fuzzing.py``. An input that reaches a line
of the package that none has reached before is kept and changed further (from Python 3.12 on; before, only the seeds
are). The first one that lets another error out, or takes too long or too much memory, is printed and ends it with 1.
``--target record --input HEX`` tries that one again.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

#: Seconds that one input may take, and bytes that the process may have.
LONGEST, MEMORY = 2.0, 2 * 2**30
#: Seconds for one target before it is the next one's turn.
SLICE = 1.0

PACKAGE = f"{os.sep}django_redis_sessions{os.sep}"


class Coverage:
    """Whether an input has reached a line of the package for the first time; costs nothing for known lines."""

    def __init__(self) -> None:
        self._is_new = False
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is not None:
            self._disable = monitoring.DISABLE
            # Not COVERAGE_ID, which whoever measures this very process may have taken.
            tool, events = 4, monitoring.events
            monitoring.use_tool_id(tool, "fuzz")
            for event in (events.LINE, events.JUMP):
                monitoring.register_callback(tool, event, self._reached)
            monitoring.set_events(tool, events.LINE | events.JUMP)

    def _reached(self, code: Any, *_: int) -> Any:
        self._is_new = self._is_new or PACKAGE in code.co_filename
        return self._disable

    def is_new(self) -> bool:
        """Whether something was reached since the last call."""
        found, self._is_new = self._is_new, False
        return found


class Fuzzer:
    """Goes round the targets; ``corpus`` are the inputs that were worth keeping, of each target."""

    def __init__(self, targets: dict[str, Any], seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a test's
        self.targets = targets
        self.corpus = {name: list(target.seeds) for name, target in targets.items()}
        self.tried = dict.fromkeys(targets, 0)
        self.coverage = Coverage()

    def go_round(self, until: float) -> bool:
        """One slice of time for each target; False when an input has failed."""
        for name in self.targets:
            end = min(until, time.monotonic() + SLICE)
            if not self.tried[name] and not all(self.survives(name, seed) for seed in self.corpus[name]):
                return False
            while time.monotonic() < end:
                if not self.survives(name, self.next_input(name)):
                    return False
        return True

    def next_input(self, name: str) -> bytes:
        from tests.fuzzing import mutated

        return mutated(self.chance, self.chance.choice(self.corpus[name]), self.corpus[name])

    def survives(self, name: str, data: bytes) -> bool:
        """Try one input; what it fails with is printed."""
        try:
            with limited(LONGEST):
                self.targets[name].run(data)
        except (Exception, MemoryError, TookTooLong):  # whatever it is, that is what is looked for
            return report(name, data, traceback.format_exc())
        self.tried[name] += 1
        if self.coverage.is_new():
            self.corpus[name].append(data)
        return True


class TookTooLong(BaseException):
    """One input took more than its share; no ``except Exception`` on the way swallows it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """``TookTooLong`` where the time of the process is over, also in a loop without an end."""

    def stop(*_: object) -> None:
        raise TookTooLong(f"more than {seconds:g} s")

    began, before = time.process_time(), signal.signal(signal.SIGPROF, stop)
    # Again and again, for the first may meet a finalizer, out of which nothing is raised.
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if time.process_time() - began > seconds:
        raise TookTooLong(f"more than {seconds:g} s")


def report(name: str, data: bytes, what: str) -> bool:
    """Tell of an input that failed."""
    path = Path(f"fuzz-{name}.bin")
    path.write_bytes(data)
    shown = data.hex() if len(data) < 2000 else f"$(xxd -p {path} | tr -d '\\n')"
    print(f"{what}\n{len(data)} bytes, in {path}:\npython -m tools.fuzz --target {name} --input {shown}")
    return False


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.fuzzing import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--input", type=bytes.fromhex, help="try this one, in hexadecimal digits")
    options = parser.parse_args()
    if options.input is not None and options.target is None:
        parser.error("--input needs --target")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    fuzzer = Fuzzer({name: TARGETS[name] for name in TARGETS if options.target in (None, name)}, options.seed)
    if options.input is not None:
        return 0 if fuzzer.survives(options.target, options.input) else 1
    print(f"{options.minutes:g} minutes, --seed {options.seed}")
    until = time.monotonic() + 60 * options.minutes
    while time.monotonic() < until:
        if not fuzzer.go_round(until):
            return 1
    for name, tried in fuzzer.tried.items():
        print(f"{name:>14}  {tried:>12,} inputs, {len(fuzzer.corpus[name]):,} kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
