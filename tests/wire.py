"""Counts what really travels: a relay between a client and the server's socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Wire:
    """A unix socket that relays to ``server``; counts round trips and keeps what the clients sent."""

    def __init__(self, server: str, directory: Path, name: str = "wire") -> None:
        self._server = server
        self.socket = str(directory / f"{name}.sock")
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._is_asked, self._is_due = threading.Event(), threading.Event()
        self._is_due.set()
        self.reset()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def answer_after(self, other: Wire) -> None:
        """Hold back all answers until somebody has asked ``other``; gives up after some seconds."""
        self._is_due = other._is_asked

    def reset(self) -> None:
        """Start counting anew."""
        self.round_trips = 0
        self.sent = b""
        self._is_asked.clear()

    def __enter__(self) -> Self:
        self._listener.bind(self.socket)
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for open_socket in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += [client, server]
                turns = _Turns()
                self._start(self._relay, client, server, turns, True)
                self._start(self._relay, server, client, turns, False)

    def _relay(self, source: socket.socket, target: socket.socket, turns: _Turns, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if is_client:
                    # A burst that follows a reply, or is the first, begins a round trip.
                    self.round_trips += not turns.is_clients
                    self.sent += chunk
                    self._is_asked.set()
                elif not self._is_due.wait(5):
                    return
                turns.is_clients = is_client
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class _Turns:
    is_clients = False
