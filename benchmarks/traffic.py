"""What did the server see of an operation?

The server counts for everybody alike: bytes that came and went, and how often it had something to
read. A blocking client sends one command, or one pipeline, and waits; as long as that fits into
one read (16 kB), the server's reads are the round trips.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import hiredis


def packed(words: tuple[str | bytes | int, ...]) -> bytes:
    """The bytes of a command."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it says tuples have one item
    return command


class RawConnection:
    """A socket, a parser and nothing else: as little as a client can do. Also the floor of the comparison."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader()

    def command(self, *words: str | bytes | int) -> Any:
        """The reply to one command."""
        return self.send(packed(words))

    def pipeline(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        """The replies to several, in one round trip."""
        replies = [self.send(b"".join(map(packed, commands)))]
        return replies + [self._reply() for _ in commands[1:]]

    def send(self, commands: bytes) -> Any:
        """The reply to the first of these packed commands."""
        self._socket.sendall(commands)
        return self._reply()

    def _reply(self) -> Any:
        reply = self._reader.gets()
        while reply is False:
            self._reader.feed(self._socket.recv(65536))
            reply = self._reader.gets()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Traffic:
    """For one operation."""

    round_trips: float
    commands: float
    bytes_sent: float
    bytes_received: float


@dataclass(frozen=True, slots=True)
class Look:
    """The server's counters, and how long the reply was that told them."""

    counters: dict[str, int]
    length: int


class Counter:
    """Reads the server's counters, and leaves out what reading them costs."""

    _INFO = packed(("INFO", "stats"))

    def __init__(self, path: str) -> None:
        self._connection = RawConnection(path)

    def look(self) -> Look:
        """Where the counters stand now."""
        text = self._connection.send(self._INFO)
        found = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        counters = {name: int(value) for name, value in found.items() if value.isdecimal()}
        return Look(counters, len(text) + len(f"${len(text)}\r\n\r\n"))

    def since(self, before: Look, operations: int) -> Traffic:
        """What so many operations have said and heard since ``before``; nobody else may have been at it."""
        after = self.look().counters
        # A reply is counted after it is written, so the second look sees the first one's.
        own = {
            "total_reads_processed": 1,
            "total_commands_processed": 1,
            "total_net_input_bytes": len(self._INFO),
            "total_net_output_bytes": before.length,
        }
        spent = {
            name: (after[name] - before.counters[name] - cost) / operations for name, cost in own.items()
        }
        return Traffic(*spent.values())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
