"""What do ``stats`` and ``purge`` cost, in time, in memory of the client and in time of the server?

Each walk runs in a process of its own, so that its peak memory is its own:
``python -m benchmarks.scale_walks URL NAME`` prints one JSON document.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.scale_server import OwnServer

#: What can be walked, by name; each gives the number of sessions that it has seen to.
WALKS = ("stats", "purge --all --dry-run", "purge --anonymous --dry-run", "purge --anonymous", "purge --all")


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk: wall and client CPU in seconds, memory in kB, the server's longest command in ms."""

    sessions: int
    seconds: float
    cpu_seconds: float
    peak_kb: int
    growth_kb: int
    longest_ms: float
    longest_command: str


def measured(server: OwnServer, name: str) -> Walk:
    """Take one walk through a server, in a process of its own, and see what the server says of it."""
    server.watch_commands()
    walked = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale_walks", server.url, name],
        check=True,
        stdout=subprocess.PIPE,
    )
    longest_ms, longest_command = server.longest_command()
    return Walk(**json.loads(walked.stdout), longest_ms=longest_ms, longest_command=longest_command)


def settings_for(url: str) -> dict[str, Any]:
    """``SESSION_REDIS`` for a server; on a machine at its limits, a late reply is no outage."""
    return {"URL": url, "TIMEOUT": 30}


def configure(url: str) -> None:
    """A Django project whose sessions are on that server."""
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["django_redis_sessions"],
        SECRET_KEY="of no project",  # noqa: S106 - nothing is signed
        SESSION_ENGINE="django_redis_sessions.backend",
        SESSION_REDIS=settings_for(url),
    )
    django.setup()


def _walks() -> dict[str, Callable[[], int]]:
    from django_redis_sessions import sessions

    def of_anonymous(dry_run: bool) -> int:
        seen = 0

        def progress(now: Any) -> None:
            nonlocal seen
            seen = now.seen

        sessions.purge(anonymous=True, dry_run=dry_run, progress=progress)
        return seen

    functions: tuple[Callable[[], int], ...] = (
        lambda: sessions.statistics().census.sessions,
        lambda: sessions.purge(dry_run=True),
        lambda: of_anonymous(dry_run=True),
        lambda: of_anonymous(dry_run=False),
        lambda: sessions.purge(),
    )
    return dict(zip(WALKS, functions, strict=True))


def _peak_kb() -> int:
    try:
        # getrusage() would count what the parent had when it started this process.
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    """Take the walk that the command line names."""
    url, name = sys.argv[1:]
    configure(url)
    walk = _walks()[name]
    from django_redis_sessions import sessions

    sessions.server_facts()  # connects, so that this is not counted
    before, wall, cpu = _peak_kb(), perf_counter(), process_time()
    count = walk()
    wall, cpu, peak = perf_counter() - wall, process_time() - cpu, _peak_kb()
    json.dump(
        {
            "sessions": count,
            "seconds": wall,
            "cpu_seconds": cpu,
            "peak_kb": peak,
            "growth_kb": peak - before,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
