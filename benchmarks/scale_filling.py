"""How does a server come to hold millions of sessions within minutes?

Sealing ten million records one by one would take longer than everything that is measured, so a few
thousand distinct ones are sealed by the package's own codec and stored again and again, each time
under the key of another session. The commands are written in bulk and Redis is told not to answer.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence
from time import time
from typing import Any

from django.contrib.sessions.serializers import JSONSerializer

from django_redis_sessions.keys import Keys, user_marker
from django_redis_sessions.records import Codec, Header

#: So many different records are made; the sessions share them.
DISTINCT = 2000
TWO_WEEKS = 14 * 86400
_SECONDS_TO_WAIT = 600
_CHUNK = 2000
_PRODUCTS = ("Teapot, blue", "Cup, white", "Saucer", "Sugar tongs", "Tea cosy", "Strainer", "Tray", "Spoon")


def session_key(number: int) -> str:
    """The session key of the session with this number: plausible, and found again without a list."""
    return f"{number:032d}"


def typical_data(dice: random.Random) -> dict[str, Any]:
    """What a shop keeps in a session: a quarter are strangers', a quarter logins, half logins with a cart."""
    data: dict[str, Any] = {}
    kind = dice.randrange(4)
    if kind:
        data["_auth_user_id"] = str(dice.randrange(1, 10**6))
        data["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
        data["_auth_user_hash"] = dice.randbytes(32).hex()
    if kind != 1:
        data["cart"] = [
            {
                "product_id": dice.randrange(1, 5000),
                "name": dice.choice(_PRODUCTS),
                "quantity": dice.randrange(1, 5),
                "price": f"{dice.randrange(100, 20000) / 100:.2f}",
            }
            for _ in range(dice.randrange(1, 6))
        ]
    return data


def typical_records(count: int = DISTINCT, seed: int = 1) -> list[tuple[bytes, int]]:
    """So many sealed records, each with the seconds it has left; their lives began in the last 13 days."""
    dice = random.Random(seed)
    codec, now = Codec(), int(time())
    records = []
    for _ in range(count):
        data = typical_data(dice)
        touched = now - dice.randrange(13 * 86400)
        header = Header(
            created=touched - dice.randrange(86400),
            touched=touched,
            ttl=TWO_WEEKS,
            user=user_marker(data["_auth_user_id"]) if "_auth_user_id" in data else b"",
        )
        records.append((codec.seal(JSONSerializer().dumps(data), header, ""), header.expires - now))
    return records


def commands(keys: Keys, records: Sequence[tuple[bytes, int]], numbers: range) -> Iterator[bytes]:
    """The bytes that store the sessions with these numbers, in chunks."""
    after_key = [
        b"\r\n$%d\r\n%b\r\n$2\r\nEX\r\n$%d\r\n%d\r\n" % (len(record), record, len(str(ttl)), ttl)
        for record, ttl in records
    ]
    before_key = b"*5\r\n$3\r\nSET\r\n$%d\r\n" % len(keys.record(session_key(0)))
    for start in range(numbers.start, numbers.stop, _CHUNK):
        chunk = bytearray()
        for number in range(start, min(start + _CHUNK, numbers.stop)):
            chunk += before_key
            chunk += keys.record(session_key(number)).encode()
            chunk += after_key[number % len(after_key)]
        yield bytes(chunk)


def fill(socket_path: str, keys: Keys, records: Sequence[tuple[bytes, int]], numbers: range) -> None:
    """Store the sessions with these numbers in the server behind a unix socket; ``RuntimeError`` if some are lost."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS_TO_WAIT)
        connection.connect(socket_path)
        before = _size(connection)
        connection.sendall(b"CLIENT REPLY OFF\r\n")
        for chunk in commands(keys, records, numbers):
            connection.sendall(chunk)
        connection.sendall(b"CLIENT REPLY ON\r\n")
        if _line(connection) != b"+OK":
            raise RuntimeError("The server did not take the sessions.")
        stored = _size(connection) - before
    if stored != len(numbers):
        raise RuntimeError(
            f"The server has {stored:,} new sessions and not {len(numbers):,}; is its memory full?"
        )


def _size(connection: socket.socket) -> int:
    connection.sendall(b"DBSIZE\r\n")
    return int(_line(connection)[1:])


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        received = connection.recv(4096)
        if not received:
            raise RuntimeError("The server has closed the connection.")
        line += received
    return line[:-2]
