"""How does a process get at the embedded server, and stay one of its users?"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from django_redis_sessions.embedded.places import (
    START_SECONDS,
    STOP_SECONDS,
    Place,
    answers,
    make_data_directory,
    make_private_directory,
    open_lock,
    place_for,
    release,
    starting,
    try_exclusive,
)
from django_redis_sessions.embedded.programs import find_server
from django_redis_sessions.errors import SessionStoreMisconfigured

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, slots=True)
class _Registration:
    """That this process, and what it forks, is a user of the server behind ``socket``."""

    socket: str
    users: int
    inode: int

    def is_held(self) -> bool:
        """False in a child that closed all files it inherited, as daemons do."""
        try:
            return os.fstat(self.users).st_ino == self.inode
        except OSError:
            return False


_registrations: dict[tuple[str | None, str], _Registration] = {}
_registering = threading.Lock()


def _forget_threads() -> None:
    # The thread that held it in the parent does not exist in a forked child.
    global _registering
    _registering = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_threads)


def socket_for(directory: str | None, project: str) -> str:
    """Path of the unix socket of a running server that stays up for as long as this process lives.

    ``directory`` is where the data is kept, None to keep none; ``project`` tells servers without a directory
    apart. Starts the server if nobody has. Any later call costs two looks at files, and starts the server
    again if its socket is gone.

    Raises SessionStoreMisconfigured when there is no server to start, or when it does not start.
    """
    if sys.platform == "win32":
        raise SessionStoreMisconfigured(
            "embedded:// does not work on Windows. Give the URL of a Redis server (redis://…), for example "
            "one running in WSL or in a container."
        )
    with _registering:
        known = _registrations.get((directory, project))
        is_held = known is not None and known.is_held()
        if known is None or not is_held or not os.path.exists(known.socket):
            place = place_for(directory, project)
            try:
                try:
                    registration = _register(place)
                except FileNotFoundError:
                    # Somebody emptied the temporary directory in between; what is made anew stays.
                    registration = _register(place)
                _registrations[directory, project] = registration
            except OSError as error:
                raise SessionStoreMisconfigured(
                    f"The embedded server's files in {place.locks} cannot be used: {error}"
                ) from error
            if known is not None and is_held:
                os.close(known.users)
        return _registrations[directory, project].socket


def _register(place: Place) -> _Registration:
    if place.directory is not None:
        make_data_directory(place.directory)
    with starting(place):
        users = open_lock(place.lock("users"))
        try:
            # Before the server is there, or the supervisor would find nobody who needs it.
            fcntl.flock(users, fcntl.LOCK_SH)
            return _Registration(_running_server(place), users, os.fstat(users).st_ino)
        except BaseException:
            release(users)
            raise


def _running_server(place: Place) -> str:
    """Socket of a supervised server that answers; the caller holds ``start.lock``, so it is alone."""
    deadline = time.monotonic() + START_SECONDS + STOP_SECONDS
    while time.monotonic() < deadline:
        supervisor = open_lock(place.lock("supervisor"))
        try:
            is_supervised = not try_exclusive(supervisor)
            written = os.pread(supervisor, 4096, 0)
        finally:
            os.close(supervisor)
        if not is_supervised:
            if _start_supervisor(place):
                return place.socket
        elif answers(path := os.fsdecode(written.partition(b" ")[2])):
            return path
        # The supervisor is starting its server once more, or is about to end.
        time.sleep(0.01)
    raise SessionStoreMisconfigured(
        f"The embedded server is supervised but has not answered for {START_SECONDS + STOP_SECONDS:.0f} s. "
        f"Its log is {place.log}; {place.lock('supervisor')} begins with the supervisor's process id."
    )


def _start_supervisor(place: Place) -> bool:
    """Start a supervisor and wait till its server answers; False when there is one already."""
    server = find_server()
    make_private_directory(place.runtime)
    # It has to find this package the way this process did, whatever the working directory and the install.
    parent = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 2))
    paths = [parent, *(os.path.abspath(path) for path in sys.path if path)]
    command = [_python(), "-P", "-W", "ignore", "-m", "django_redis_sessions.embedded.supervisor"]
    with subprocess.Popen(
        [*command, place.runtime, place.directory or "", server.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C in the terminal is for the users, who may still want to save
    ) as process:
        answer, _ = process.communicate()
    said = answer.decode(errors="replace").strip()
    if said not in ("ready", "busy"):
        raise SessionStoreMisconfigured(f"The embedded server {server.path} could not be started: {said}")
    return said == "ready"


def _python() -> str:
    """The interpreter; inside uWSGI or mod_wsgi ``sys.executable`` is another program."""
    if os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return sys.executable
    return os.path.join(sys.exec_prefix, "bin", "python3")
