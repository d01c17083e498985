"""Real servers for the tests: started here, on a private socket or on loopback, stopped by process id."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import redis

from django_redis_sessions import scripts
from django_redis_sessions.embedded import find_server
from django_redis_sessions.rights import Rights


def free_port() -> int:
    """A TCP port nobody listens on just now, nor on the one 10,000 above it, which is a cluster's bus.

    Both are below the range that systems take the ports of outgoing connections from, so none of those can come
    in between; nor another process that asks here, until this one ends.
    """
    while True:
        port = _random.randrange(10_000, 20_000)
        if port in _given or not _is_ours(port):
            continue
        try:
            for probed in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", probed))
        except OSError:
            continue
        _given.add(port)
        return port


def _is_ours(port: int) -> bool:
    """Claim a port before all other processes of tests; by a name that goes with the process, and is no file."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0drs-test-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


# Not the generator that every test is given the same seed of.
_random = random.SystemRandom()
_given: set[int] = set()
_claims: list[socket.socket] = []


def load_scripts(client: redis.Redis) -> None:
    """Let a server know what one knows that has run for a while: no script needs a second round trip for its text."""
    for script in vars(scripts).values():
        if isinstance(script, scripts.Script):
            client.script_load(script.text)


class RedisServer:
    """One server process in a directory of its own; a context manager."""

    #: What ``OPTIONS`` need to reach it.
    options: dict[str, object] = {}

    def __init__(self, *options: str, port: int = 0) -> None:
        self.port = port
        self._options = options
        self._directory = tempfile.TemporaryDirectory(prefix="drs-")
        self.directory = Path(self._directory.name)
        self.socket = str(self.directory / "redis.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Where it listens: on its port if it was given one, else on its unix socket."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        arguments += ["--dir", str(self.directory), "--save", "", "--appendonly", "no", *self._options]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [find_server().path, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = monotonic() + 10
        while not self._answers():
            if monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RuntimeError((self.directory / "log").read_text())
            sleep(0.005)

    def stop(self) -> None:
        """Kill the process, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, **options: object) -> redis.Redis:
        """A plain redis-py client, for looking behind the package's back."""
        return redis.Redis(unix_socket_path=self.socket, retry=None, protocol=2, **options)

    def _answers(self) -> bool:
        if not os.path.exists(self.socket):
            return False
        with self.client() as client:
            try:
                # With requirepass or TLS any answer will do.
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False


class AclServer(RedisServer):
    """A server on which the package is a user with few rights; ``client()`` is still one who may do everything."""

    USER, SECRET = "site", "of-the-site"

    @property
    def url(self) -> str:
        return f"unix://{self.USER}:{self.SECRET}@{self.socket}"

    def start(self) -> None:
        super().start()
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", self.USER, "on", f">{self.SECRET}")

    def permit(self, rights: Rights) -> None:
        """Let the user do this and nothing else, from one command to the next."""
        words = [word for line in rights.rules(self.USER, self.SECRET) for word in line.split()[3:]]
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", self.USER, "reset", *words)
