"""How is a command sent, and its reply read, over a connection of redis-py's?

redis-py makes a connection, authenticates and closes it. In between this package uses the socket
itself: redis-py's way of sending and receiving takes as much time again as the server's answer.
Where redis-py keeps a socket is not part of its interface; ``socket_of()`` and ``transport_of()``
are the only places that know.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from types import BuiltinMethodType
from typing import Any

import hiredis
import redis
from redis.connection import AbstractConnection, DefaultParser

from django_redis_sessions.operations import Command

#: What ``hiredis.Reader.gets()`` gives when a reply has not arrived whole.
MORE = object()

_CHUNK = 65536


def socket_of(connection: AbstractConnection) -> socket.socket:
    """The socket of a blocking connection that is connected."""
    connected: socket.socket = connection._sock  # type: ignore[assignment]  # it says that it is always None
    return connected


def transport_of(connection: redis.asyncio.connection.AbstractConnection) -> asyncio.Transport:
    """The transport of an asynchronous connection that is connected."""
    return connection._writer.transport  # type: ignore[return-value, union-attr]


async def closed(connection: redis.asyncio.connection.AbstractConnection) -> None:
    """Wait until an asynchronous connection that has ended is closed; not longer than its time-out.

    In a process that gets to nothing for a while that passes, and redis-py raises it. The transport closes all the
    same, and nobody who has lost a connection needs a second error.
    """
    with contextlib.suppress(redis.TimeoutError):
        await connection.disconnect()


def leave_timeouts_to_kernel(connected: socket.socket) -> None:
    """Have the system end a send or receive that takes longer than the socket's time-out.

    Python does that with one more system call before each. Only for plain sockets: TLS, and the
    sockets of gevent, know the time-outs that Python knows, and no others. A signal that is handled
    while the kernel waits starts the time anew.
    """
    timeout = connected.gettimeout()
    if not timeout or sys.platform == "win32" or not isinstance(connected.recv, BuiltinMethodType):
        return
    whole, part = divmod(max(timeout, 1e-6), 1)
    limit = struct.pack("@ll", int(whole), int(part * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connected.setsockopt(socket.SOL_SOCKET, option, limit)
    connected.settimeout(None)


def packed(command: Command | list[Command]) -> bytes:
    """The bytes to send for one command, or for several."""
    if isinstance(command, list):
        return b"".join([packed(single) for single in command])
    sent: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows one-tuples only
    return sent


def new_reader() -> hiredis.Reader:
    """Takes bytes, gives replies, or redis-py's errors in their place."""
    return hiredis.Reader(
        protocolError=redis.exceptions.InvalidResponse,
        replyError=DefaultParser.parse_error,
        notEnoughData=MORE,
    )


class Wire:
    """One blocking connection."""

    __slots__ = ("_connection", "_reader", "_socket", "idle_since", "is_connected")

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self.is_connected = False
        #: When (on its owner's clock) it was last used.
        self.idle_since = 0.0

    def connect(self) -> None:
        """Connect and authenticate; raises redis-py's errors."""
        self._connection.connect()
        self._socket = socket_of(self._connection)
        leave_timeouts_to_kernel(self._socket)
        self._reader = new_reader()
        self.is_connected = True

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self.is_connected = False
        self._connection.disconnect()

    def exchange(self, command: Command | list[Command]) -> Any:
        """The reply to a command, or those to several with ``ResponseError`` among them.

        Raises redis-py's errors. After any error but ``ResponseError`` the wire must be closed.
        """
        is_list = isinstance(command, list)
        if self._reader.has_data():
            self._read_over_pushes()
        try:
            self._socket.sendall(packed(command))
            replies = [self._reply() for _ in command] if is_list else self._reply()
        except (TimeoutError, BlockingIOError) as error:
            raise redis.TimeoutError("Timeout while waiting for the server") from error
        except OSError as error:
            raise redis.ConnectionError(
                f"Error {error.errno} on the connection. {error.strerror}."
            ) from error
        if is_list:
            raise_lost(replies)
        elif isinstance(replies, redis.RedisError):
            try:
                raise replies
            finally:
                del replies  # or it would keep itself, and this wire, by its own trace
        return replies

    def _read_over_pushes(self) -> None:
        """What came behind the last reply is no answer to the next command."""
        while (left := self._reader.gets()) is not MORE:
            if not isinstance(left, hiredis.PushNotification):
                raise redis.ConnectionError("The server sent what nobody had asked for")

    def _reply(self) -> Any:
        reply = self._reader.gets()
        while reply is MORE or isinstance(reply, hiredis.PushNotification):
            if reply is MORE:
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise redis.ConnectionError("Connection closed by server.")
                self._reader.feed(data)
            reply = self._reader.gets()
        return reply


def raise_lost(replies: list[Any]) -> None:
    """Raise the first error among ``replies`` that concerns the connection and not one command."""
    for reply in replies:
        if isinstance(reply, redis.RedisError) and not isinstance(reply, redis.ResponseError):
            try:
                raise reply
            finally:
                del reply, replies
