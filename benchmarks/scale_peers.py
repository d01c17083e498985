"""What does redis-cli need for the work that ``stats`` and ``purge`` do?

Its own SCAN, and that SCAN piped into what it would have to ask or to end for each key.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from time import perf_counter

from django_redis_sessions.keys import Keys
from django_redis_sessions.walks import GLIMPSE, PAGE

#: redis-cli's --pipe gets slower with the square of the replies that it is behind with: a million
#: sessions took it minutes in one piece and seconds in portions of so many commands.
PORTION = 50_000


class NoRedisCli(Exception):
    """There is none that could be compared with; the message says why."""


class RedisCli:
    """redis-cli, talking to the server behind a unix socket; each method gives seconds."""

    def __init__(self, path: str, socket_path: str, keys: Keys) -> None:
        self._cli = [path, "-s", socket_path]
        self._scan = [*self._cli, "--scan", "--pattern", keys.records_pattern, "--count", str(PAGE)]

    def scan(self) -> float:
        """To name every session."""
        return seconds_of(self._scan)

    def look(self) -> float:
        """To name every session and to ask what ``stats`` asks of each."""
        asking = f'{{ print "GETRANGE " $1 " 0 {GLIMPSE - 1}\\r\\nTTL " $1 "\\r" }}'
        portions = ["split", "-l", str(PORTION), "--filter", shlex.join([*self._cli, "--pipe"])]
        return seconds_of(self._scan, ["awk", asking], portions)

    def unlink(self) -> float:
        """To end every session, with a command for each in one stream."""
        return seconds_of(self._scan, ["awk", '{ print "UNLINK " $1 "\\r" }'], [*self._cli, "--pipe"])

    def unlink_with_xargs(self) -> float:
        """To end every session as people do it: ``redis-cli --scan | xargs redis-cli unlink``."""
        return seconds_of(self._scan, ["xargs", "-n", str(PAGE), *self._cli, "unlink"])


def find_redis_cli(named: str | None) -> str:
    """The redis-cli to compare with; ``NoRedisCli`` if there is none, or one that is too old."""
    path = shutil.which(named or "redis-cli")
    if path is None:
        raise NoRedisCli(f"there is no {named or 'redis-cli on PATH'}")
    described = subprocess.run([path, "--help"], check=False, capture_output=True, text=True)
    if "--count" not in described.stdout + described.stderr:
        raise NoRedisCli(
            f"{path} has no --count, which came with Redis 7.2, and would scan ten keys at a time"
        )
    return path


def seconds_of(*commands: Sequence[str]) -> float:
    """How long a pipeline of programs takes; its output goes nowhere. ``RuntimeError`` if one fails."""
    started = perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    for number, command in enumerate(commands, start=1):
        running.append(
            subprocess.Popen(
                command,
                stdin=running[-1].stdout if running else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if number == len(commands) else subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
    for process in running[:-1]:
        assert process.stdout is not None
        process.stdout.close()
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"{commands[codes.index(max(codes))][0]} failed.")
    return perf_counter() - started
