"""On what was it measured?"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Above this load average for each core somebody else is at work here.
BUSY = 0.5

_PACKAGES = ("Django", "redis", "hiredis", "django-redis", "gunicorn", "uvicorn", "uvloop", "httptools")


def environment(server: dict[str, Any], *, reached: str) -> dict[str, Any]:
    """The machine, the versions and how busy it is now; ``server`` is what INFO says, ``reached`` how it is."""
    cores = _cores()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": cores,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "parser": _parser(),
        "server": f"{'Valkey' if 'valkey_version' in server else 'Redis'} "
        f"{server.get('valkey_version') or server['redis_version']}",
        "reached": reached,
        "load_before": round(load, 2),
        "is_busy": load > BUSY * cores,
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people, one fact a line."""
    packages = ", ".join(f"{name} {found}" for name, found in facts["packages"].items() if found)
    busy = " – THE MACHINE IS BUSY, times are worth little" if facts["is_busy"] else ""
    return [
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, {facts['kernel']}",
        f"{facts['python']}, {packages}",
        f"{facts['server']} {facts['reached']}, redis-py parses with {facts['parser']}",
        f"load average before the start: {facts['load_before']:.2f}{busy}",
    ]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _parser() -> str:
    from redis.connection import DefaultParser

    return str(DefaultParser.__name__.strip("_"))
