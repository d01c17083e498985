"""How does a measurement get a server of its own, and what does the server say about it?

The server listens on a private unix socket, keeps nothing on disk and is stopped by its process id.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import redis

from django_redis_sessions.embedded import find_server

#: Commands that take longer than so many microseconds are remembered, to find the longest.
WATCHED_US = 100


class OwnServer:
    """A server process in a directory of its own; a context manager."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="drs-scale-")
        self.socket = str(Path(self._directory.name) / "redis.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        arguments = ["--port", "0", "--unixsocket", self.socket, "--dir", self._directory.name]
        arguments += ["--save", "", "--appendonly", "no"]
        arguments += ["--slowlog-log-slower-than", str(WATCHED_US), "--slowlog-max-len", "100000"]
        self._process = subprocess.Popen(
            [find_server().path, *arguments], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = monotonic() + 10
        while not self._answers():
            if monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RuntimeError(f"{find_server().path} does not start.")
            sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """For ``SESSION_REDIS``."""
        return f"unix://{self.socket}"

    def stop(self) -> None:
        """Kill the process; there is nothing to be kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *command: str | int) -> Any:
        """The reply to one command, over a connection of its own."""
        with redis.Redis(unix_socket_path=self.socket, protocol=2, socket_timeout=60) as client:
            return client.execute_command(*command)

    def watch_commands(self) -> None:
        """Forget which commands took long so far."""
        self.ask("SLOWLOG", "RESET")

    def longest_command(self) -> tuple[float, str]:
        """Milliseconds and name of the longest command since ``watch_commands()``."""
        entries = self.ask("SLOWLOG", "GET", -1)
        # Asking for them is not what was watched.
        entries = [entry for entry in entries if entry[3][0] != b"SLOWLOG"]
        named = [(duration / 1000, command[0].decode()) for _, _, duration, command, *_ in entries]
        return max(named, default=(WATCHED_US / 1000, "none"))

    @property
    def used_memory(self) -> int:
        """Bytes that the server takes, by its own account."""
        return int(self.ask("INFO", "memory")["used_memory"])

    def _answers(self) -> bool:
        if not Path(self.socket).exists():
            return False
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False
