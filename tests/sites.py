"""How does a test, or a tool, run the shop in `testproject` as processes of its own?

A pytest plugin: `conftest` names it, and its fixtures give places and running sites. Each site has a directory of its
own for its database, its sessions and its temporary files, and no process may outlive the test that started it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent / "testproject"
SECONDS = 20  # any wait is over long before; only a failure lasts that long

PYTHON = sys.executable
SERVERS = {
    "wsgi": [PYTHON, "-m", "gunicorn", "testproject.wsgi", "--bind", "127.0.0.1:0", "--workers", "2"],
    "asgi": [PYTHON, "-m", "uvicorn", "testproject.asgi:application", "--host", "127.0.0.1", "--port", "0"],
}

# Helpers: places and processes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A directory with everything one site keeps, and the environment that says so."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESTPROJECT_")}
        return {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "PYTHONUNBUFFERED": "1",
            "TESTPROJECT_DB": str(self.directory / "db.sqlite3"),
            "TESTPROJECT_PASSWORDS": "quick",
            "TESTPROJECT_REDIS": f"embedded://{self.directory}/redis",
            "TMPDIR": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.directory),
        }

    def processes(self) -> dict[int, str]:
        """`{process id: command line}` of all that was started here and is still there, whoever its parent is."""
        mark = os.fsencode(self.directory)
        found = {}
        if os.path.isdir("/proc/self"):
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
                    command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                    if command and (mark in command or mark in (entry / "environ").read_bytes()):
                        found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        else:
            # With E, the command is followed by the environment.
            listed = subprocess.run(["ps", "-AEww", "-o", "pid=,command="], capture_output=True, check=True)
            for line in listed.stdout.splitlines():
                pid, _, command = line.strip().partition(b" ")
                if mark in command:
                    found[int(pid)] = command.decode(errors="replace")
        return found

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` to its end."""
        return subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS * 3,  # it may run beside traffic, on a machine that is busy anyway
        )


@dataclass
class Site:
    """A web server in a session and process group of its own; `url` is known once it listens."""

    place: Place
    command: list[str]
    url: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> str:
        return (self.place.directory / "site.log").read_text(errors="replace")

    def start(self) -> None:
        with open(self.place.directory / "site.log", "wb") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=PROJECT,
                env=self.place.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # What the servers say when they listen; from then on a request waits until somebody takes it.
        until(
            lambda: re.search(r"(?:Listening at: |running on |server at )http://127\.0\.0\.1:\d+", self.log),
            or_fail=lambda: f"{self.command} does not listen:\n{self.log}",
            give_up=lambda: self._process.poll() is not None,
        )
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", self.log)[-1]

    def stop(self) -> None:
        """End the server in good order; by force if it does not go."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def press_ctrl_c(self) -> int:
        """What a terminal does on Ctrl-C: a signal for the whole process group. Gives the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(SECONDS)


def until(
    condition: Callable[[], Any],
    or_fail: Callable[[], str],
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait for another process, and fail when it takes too long or there is no hope left."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if give_up() and not condition():
            pytest.fail(or_fail())
        if time.monotonic() > deadline:
            pytest.fail(f"That did not come about: {or_fail()}")
        time.sleep(0.02)


def wait_until_nothing_is_left(place: Place) -> None:
    """The embedded server notices by itself that its last user is gone."""
    until(lambda: not place.processes(), or_fail=lambda: f"still running: {place.processes()}")


def end_by_force(place: Place) -> None:
    """For a `finally`: only what was started in this place, by its process id."""
    for pid in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Fixtures -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the database and the two logins are ready; copied by all others."""
    place = Place(tmp_path_factory.mktemp("shop"))
    try:
        done = place.manage("demo", "--no-server")
        assert done.returncode == 0, done.stderr
        wait_until_nothing_is_left(place)
        yield place
    finally:
        end_by_force(place)


@pytest.fixture(scope="module")
def new_place(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    def new_place() -> Place:
        place = Place(tmp_path_factory.mktemp("shop"))
        shutil.copy(prepared.directory / "db.sqlite3", place.directory)
        return place

    return new_place


@pytest.fixture(scope="module")
def sites(new_place: Callable[[], Place]) -> Iterator[Callable[[str], Site]]:
    """Gives the running site of each kind, which all tests share."""
    running: dict[str, Site] = {}

    def site_of(kind: str) -> Site:
        if kind not in running:
            running[kind] = Site(new_place(), SERVERS[kind])
            running[kind].start()
        return running[kind]

    try:
        yield site_of
        for site in running.values():
            site.stop()
        for site in running.values():
            wait_until_nothing_is_left(site.place)
    finally:
        for site in running.values():
            site.stop()
            end_by_force(site.place)


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Iterator[Place]:
    """A place for one test, in which nothing is left running."""
    place = new_place()
    try:
        yield place
        wait_until_nothing_is_left(place)
    finally:
        end_by_force(place)
