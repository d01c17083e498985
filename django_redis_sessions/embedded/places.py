"""Where are the files of an embedded server, and how are its locks taken?

What each lock is for stands in the docstring of the package.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django_redis_sessions.errors import SessionStoreMisconfigured

if sys.platform != "win32":
    import fcntl

START_SECONDS = 30.0  # a large append-only file takes a while to load
STOP_SECONDS = 2.0
LONGEST_SOCKET_PATH = 100  # bytes; sun_path has room for 104 on macOS and 108 on Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The files of one shared server; ``directory`` is None when its data is not kept."""

    runtime: str
    directory: str | None

    @property
    def socket(self) -> str:
        return os.path.join(self.runtime, "redis.sock")

    @property
    def log(self) -> str:
        return os.path.join(self.directory or self.runtime, "server.log")

    @property
    def locks(self) -> str:
        return os.path.join(self.directory, "locks") if self.directory else self.runtime

    def lock(self, name: str) -> str:
        return os.path.join(self.locks, f"{name}.lock")


def place_for(directory: str | None, project: str) -> Place:
    if directory is not None:
        directory = os.path.realpath(directory)
    identity = f"project {project}" if directory is None else f"directory {directory}"
    name = f"django-redis-sessions-{os.geteuid()}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]}"
    for base in _temporary_directories():
        place = Place(runtime=os.path.join(base, name), directory=directory)
        if len(os.fsencode(place.socket)) <= LONGEST_SOCKET_PATH:
            return place
    raise SessionStoreMisconfigured(
        f"The path of the embedded server's socket would be too long: {place.socket}. "
        f"Set TMPDIR to a directory with a shorter name."
    )


def _temporary_directories() -> Iterator[str]:
    private = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(private) and os.path.isdir(private) and os.access(private, os.W_OK | os.X_OK):
        yield private
    yield os.path.abspath(tempfile.gettempdir())


def make_private_directory(path: str) -> None:
    """Create a directory that nobody else can enter, or refuse: another user may have taken the name."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SessionStoreMisconfigured(
            f"{path} exists but is not a directory that belongs to this user alone (mode 0700), so the "
            f"embedded server will not use it: somebody else may have put it there. "
            f"Remove it, or run as the user who owns it."
        )


def make_data_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SessionStoreMisconfigured(
            f"The directory {path} for the embedded server's data cannot be created: {error.strerror}."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SessionStoreMisconfigured(
            f"The directory {path} for the embedded server's data is not writable."
        )


def open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def try_exclusive(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def release(lock: int) -> None:
    # Closing would not do: a child forked meanwhile by another thread has the same lock open.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def is_at(lock: int, path: str) -> bool:
    """Whether the opened file is still the one with this path, and was not removed or replaced."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except OSError:
        return False


@contextmanager
def starting(place: Place) -> Iterator[None]:
    """Hold ``start.lock``; until we have it, a supervisor may remove both the file and its directory."""
    while True:
        make_private_directory(place.locks)
        try:
            lock = open_lock(place.lock("start"))
        except FileNotFoundError:  # pragma: no cover - microseconds wide
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_at(lock, place.lock("start")):
                yield
                return
        finally:
            release(lock)


# The server behind the socket


def answers(path: str) -> bool:
    """Whether PING is answered with PONG, not with LOADING.

    Without redis-py, whose import would take more time than the server needs to start.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
