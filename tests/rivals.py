"""Real rivals: threads, tasks and processes that use one session at the same time.

As a program (``python -m tests.rivals ENGINE SESSION_KEY FIRST LAST``) it writes the keys from FIRST
to LAST, each in a request of its own, from four threads; the settings come from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

WRITES = 15


def write(engine: type, session_key: str, name: str) -> None:
    """One request that changes one key."""
    session = engine(session_key)
    session.get(name)
    session[name] = 1
    session.save()


async def awrite(engine: type, session_key: str, name: str) -> None:
    """Async twin of ``write()``."""
    session = engine(session_key)
    await session.aget(name)
    await session.aset(name, 1)
    await session.asave()


def in_threads(work: Callable[[int], Any], number: int) -> None:
    """``work(0)`` to ``work(number - 1)``, all released at the same moment."""
    barrier = threading.Barrier(number)
    errors: list[BaseException] = []

    def run(own: int) -> None:
        barrier.wait()
        try:
            work(own)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(own,)) for own in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def write_in_threads(engine: type, session_key: str, writers: int, first: int = 0) -> None:
    """``writers`` threads write ``WRITES`` keys each."""

    def work(own: int) -> None:
        for turn in range(WRITES):
            write(engine, session_key, f"{first + own}-{turn}")

    in_threads(work, writers)


async def write_in_tasks(engine: type, session_key: str, writers: int) -> None:
    """``writers`` tasks of one loop write ``WRITES`` keys each."""

    async def work(own: int) -> None:
        for turn in range(WRITES):
            await awrite(engine, session_key, f"{own}-{turn}")

    await asyncio.gather(*[work(own) for own in range(writers)])


def lost(engine: type, session_key: str, writers: int) -> int:
    """How many of all writes are not there."""
    found = dict(engine(session_key).items())
    return sum(f"{own}-{turn}" not in found for own in range(writers) for turn in range(WRITES))


def main(engine_path: str, session_key: str, first: str, number: str) -> None:
    from django.conf import settings

    settings.configure(**json.loads(os.environ["RIVAL_SETTINGS"]))
    engine = import_module(engine_path).SessionStore
    write_in_threads(engine, session_key, int(number), int(first))


if __name__ == "__main__":
    main(*sys.argv[1:])
