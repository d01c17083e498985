"""What does a measurement's own server say about it?"""

from __future__ import annotations

from typing import Any

import redis

from tests.servers import RedisServer

#: Commands that take longer than so many microseconds are remembered, to find the longest.
WATCHED_US = 100


class OwnServer(RedisServer):
    """A server that remembers which commands took long; a context manager."""

    def __init__(self) -> None:
        super().__init__("--slowlog-log-slower-than", str(WATCHED_US), "--slowlog-max-len", "100000")

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
