"""Who starts the embedded server, watches it, and stops it after its last user?

A process of its own: ``python -m django_redis_sessions.embedded.supervisor RUNTIME DIRECTORY SERVER``, started
by the first user.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from django_redis_sessions.embedded.places import (
    START_SECONDS,
    STOP_SECONDS,
    Place,
    answers,
    is_at,
    make_private_directory,
    open_lock,
    try_exclusive,
)
from django_redis_sessions.errors import SessionStoreMisconfigured

if sys.platform != "win32":
    import fcntl

WATCH_SECONDS = 0.1  # how often the supervisor looks for users: the price of not needing a thread
RESTARTS = 5  # the supervisor gives up when the server dies more often than this within ...
RESTART_WINDOW_SECONDS = 10.0


class _DoesNotStart(Exception):
    pass


class _Supervisor:
    """Keeps one server running until nobody holds ``users.lock``, then removes what is left of it."""

    def __init__(self, place: Place, server: str) -> None:
        self.place = place
        self.server = server
        self.process: subprocess.Popen[bytes] | None = None
        self.start = open_lock(place.lock("start"))
        self.users = open_lock(place.lock("users"))
        self.own = open_lock(place.lock("supervisor"))

    def run(self) -> None:
        """Answer ``ready``, ``busy`` or what went wrong on standard output; after ``ready``, stay.

        The log of a server that does not start is left, for people to read.
        """
        if not try_exclusive(self.own):
            self.answer("busy")
            return
        os.ftruncate(self.own, 0)
        try:
            open(self.place.log, "wb").close()
            self.start_server()
            # Not earlier: an orphan may have answered at the same path until now.
            os.pwrite(self.own, b"%d %s" % (os.getpid(), os.fsencode(self.place.socket)), 0)
            self.answer("ready")
            if self.stay():
                self.stop_server()
                self.clear_up()
        except (_DoesNotStart, SessionStoreMisconfigured, OSError) as error:
            self.answer(str(error))
        finally:
            self.stop_server()

    def answer(self, text: str) -> None:
        try:
            os.write(1, os.fsencode(text))
        except BrokenPipeError:
            pass  # the starter was killed; if nobody else comes, staying will soon end
        # The starter reads until nobody has its pipe open any more.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (1, 2):
            os.dup2(nowhere, standard)
        os.close(nowhere)

    def stay(self) -> bool:
        """True when no user is left, with ``start.lock`` and ``users.lock`` held; False to end anyhow."""
        deaths: list[float] = []
        while not self.is_alone():
            if not is_at(self.start, self.place.lock("start")):
                # Somebody emptied the temporary directory. What comes to our paths belongs to another server,
                # so ours must not end politely: it would remove that one's socket.
                self.stop_server(signal.SIGKILL)
                return False
            is_running = self.process is not None and self.process.poll() is None
            if not is_running or not os.path.exists(self.place.socket):
                self.stop_server()
                now = time.monotonic()
                deaths = [death for death in deaths if now - death < RESTART_WINDOW_SECONDS] + [now]
                if len(deaths) > RESTARTS:
                    self.note(f"the server was lost {len(deaths)} times in quick succession: giving up")
                    return False
                self.note("the server or its socket is gone although in use: starting it again")
                try:
                    self.start_server()
                except _DoesNotStart:
                    pass  # counted as one more death in the next round; the server's own log has the reason
            time.sleep(WATCH_SECONDS)
        return True

    def is_alone(self) -> bool:
        if not try_exclusive(self.users):
            return False
        if is_at(self.start, self.place.lock("start")) and try_exclusive(self.start):
            return True
        # Somebody is on the way in and will want users.lock; the server is still there for them.
        fcntl.flock(self.users, fcntl.LOCK_UN)
        return False

    def start_server(self) -> None:
        """Run the server as a child and return when it answers."""
        place = self.place
        make_private_directory(place.runtime)
        lock = self.lock_of_next_server()
        supervisor = os.getpid()
        die_with_parent = _prctl_die_with_parent()

        def before_exec() -> None:  # pragma: no cover - coverage does not survive the exec
            # Written by the server itself, so there is no moment at which it lives and its id is unknown.
            os.pwrite(lock, b"%d" % os.getpid(), 0)
            die_with_parent()
            if os.getppid() != supervisor:
                os._exit(1)

        arguments = ["--port", "0", "--unixsocket", place.socket, "--unixsocketperm", "700"]
        arguments += ["--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction"]
        arguments += ["--dir", place.directory or place.runtime, "--logfile", place.log]
        if place.directory is None:
            arguments += ["--appendonly", "no"]
        else:
            # Without the preamble any version can read what another one has written.
            arguments += ["--appendonly", "yes", "--appendfsync", "everysec", "--aof-use-rdb-preamble", "no"]
        with open(place.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.server, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                preexec_fn=before_exec,  # safe: the supervisor has one thread
                umask=0o077,
            )
        os.close(lock)  # from here on it is the server's alone
        deadline = time.monotonic() + START_SECONDS
        while not answers(place.socket):
            if self.process.poll() is not None:
                raise _DoesNotStart(f"it ended with status {self.process.returncode}. {self.end_of_log()}")
            if time.monotonic() > deadline:
                self.stop_server()
                raise _DoesNotStart(f"it did not answer within {START_SECONDS:.0f} s. {self.end_of_log()}")
            time.sleep(0.005)

    def lock_of_next_server(self) -> int:
        """``server.lock``, held; a server whose supervisor was killed is stopped first."""
        lock = open_lock(self.place.lock("server"))
        for number in (signal.SIGTERM, signal.SIGKILL):
            if try_exclusive(lock):
                break
            orphan = int(os.pread(lock, 32, 0) or 0)
            if orphan:
                try:
                    os.kill(orphan, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + STOP_SECONDS
            while not (is_free := try_exclusive(lock)) and time.monotonic() < deadline:
                time.sleep(0.01)
            if is_free:
                break
        else:
            raise _DoesNotStart(f"another server holds {self.place.lock('server')} and cannot be stopped.")
        os.ftruncate(lock, 0)
        return lock

    def stop_server(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def clear_up(self) -> None:
        """Remove what the server does not need to be found again; the caller holds ``start.lock``."""
        place = self.place
        remove = [place.socket]
        if place.directory is None:
            # start.lock last: as long as it is there, nobody else makes new files.
            remove += [place.log, *map(place.lock, ("users", "supervisor", "server", "start"))]
        for path in remove:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        try:
            os.rmdir(place.runtime)
        except OSError:  # pragma: no cover - microseconds wide
            pass  # a new user has put a new start.lock there meanwhile

    def note(self, text: str) -> None:
        with open(self.place.log, "a") as log:
            log.write(f"{os.getpid()}:supervisor {time.strftime('%d %b %Y %H:%M:%S')} {text}\n")

    def end_of_log(self) -> str:
        with open(self.place.log, errors="replace") as log:
            lines = log.read()[-4000:].splitlines()[-10:]
        return "\n".join([f"The end of its log {self.place.log}:", *lines])


def _prctl_die_with_parent() -> Callable[[], object]:
    """What the child calls to have Linux stop it when its supervisor is killed; nothing elsewhere."""
    if sys.platform != "linux":
        return lambda: None  # pragma: no cover - not on the systems that measure
    import ctypes  # here, because user processes have no need of it

    prctl = ctypes.CDLL(None).prctl
    PR_SET_PDEATHSIG = 1
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _end(number: int, frame: object) -> None:
    raise SystemExit(0)


def _supervise(runtime: str, directory: str, server: str) -> None:
    # Not a child of the first user: that one may be waiting for children of its own, or ignore them.
    if os.fork():
        os._exit(0)  # pragma: no cover - coverage is not asked before this kind of exit
    signal.signal(signal.SIGTERM, _end)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _Supervisor(Place(runtime=runtime, directory=directory or None), server).run()


if __name__ == "__main__":
    _supervise(*sys.argv[1:])
