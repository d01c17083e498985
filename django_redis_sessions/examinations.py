"""What is a server asked, to judge whether it suits sessions?

Operations that ask and change nothing. What an ACL rule or a service forbids stays unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django_redis_sessions.diagnosis import DANGEROUS, Server
from django_redis_sessions.errors import SessionStoreError
from django_redis_sessions.operations import Masters, Operation, on
from django_redis_sessions.walks import server_info

#: How many round trips the latency is the median of.
PINGS = 15
#: The settings of the server that INFO does not say.
ASKED = ("appendfsync", "save")

# What COMMAND says about the dangerous ones, for servers without ACL DRYRUN
# (https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/#command-categories).
_CATEGORIES = {
    "FLUSHALL": {"keyspace", "write", "slow", "dangerous"},
    "FLUSHDB": {"keyspace", "write", "slow", "dangerous"},
    "KEYS": {"keyspace", "read", "slow", "dangerous"},
    "CONFIG": {"admin", "slow", "dangerous"},
    "DEBUG": {"admin", "slow", "dangerous"},
}


def examine_all(wall: Callable[[], float], stopwatch: Callable[[], float]) -> Operation[list[Server]]:
    """What each server that holds sessions says about itself; see ``examine()``."""
    servers = yield Masters()
    found: list[Server] = []
    for server in servers:
        found += [(yield from on(server, examine(server.address, wall, stopwatch)))]
    return found


def examine(address: str, wall: Callable[[], float], stopwatch: Callable[[], float]) -> Operation[Server]:
    """What one server says about itself. About twenty round trips.

    ``wall`` gives the time in seconds since 1970, ``stopwatch`` some time in seconds.
    """
    try:
        pings = yield from _pings(stopwatch)
        skew = yield from _skew(wall)
        info = yield from server_info()
        config = yield from _config()
        user = yield from _user()
        allowed = yield from _allowed(user)
        restores = yield from _restores()
    except SessionStoreError as error:
        return Server(address=address, outage=str(error))
    return Server(
        address=address,
        pings=tuple(pings),
        info=info or None,
        config=config,
        skew=skew,
        user=user,
        allowed=allowed,
        restores=restores,
    )


def _pings(stopwatch: Callable[[], float]) -> Operation[list[float]]:
    took: list[float] = []
    # The first opens the connection.
    for is_counted in (False, *[True] * PINGS):
        began = stopwatch()
        (reply,) = yield [("PING",)]
        if isinstance(reply, Exception):
            return []
        if is_counted:
            took.append(stopwatch() - began)
    return took


def _skew(wall: Callable[[], float]) -> Operation[float | None]:
    before = wall()
    (reply,) = yield [("TIME",)]
    after = wall()
    if isinstance(reply, Exception):
        return None
    seconds, microseconds = map(int, reply)
    there = seconds + microseconds / 1e6
    # Within the time that the question took, nobody can tell.
    return there - after if there > after else min(0.0, there - before)


def _config() -> Operation[dict[str, str] | None]:
    replies = yield [("CONFIG", "GET", name) for name in ASKED]
    found: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, Exception):
            return None
        found |= {_text(name): _text(value) for name, value in _pairs(reply)}
    return found


def _user() -> Operation[str | None]:
    (reply,) = yield [("ACL", "WHOAMI")]
    return None if isinstance(reply, Exception) else _text(reply)


def _allowed(user: str | None) -> Operation[frozenset[str] | None]:
    """Which of the dangerous commands this user may use; none of them is sent."""
    if user is None:
        return None
    replies = yield [("ACL", "DRYRUN", user, name, *arguments) for name, arguments in DANGEROUS.items()]
    if not any(isinstance(reply, Exception) for reply in replies):
        return frozenset(name for name, reply in zip(DANGEROUS, replies, strict=True) if _text(reply) == "OK")
    (reply,) = yield [("ACL", "GETUSER", user)]
    if isinstance(reply, Exception):
        return None
    # The rest of the reply, hashes of passwords among it, is let go.
    rules = next((_text(value) for name, value in _pairs(reply) if _text(name) == "commands"), "")
    return permitted_by(rules)


def _restores() -> Operation[bool | None]:
    """Whether the server may do in the default user's name what it finds in its append-only file."""
    (reply,) = yield [("ACL", "DRYRUN", "default", "SET", "key", "value")]
    return None if isinstance(reply, Exception) else _text(reply) == "OK"


def permitted_by(rules: str) -> frozenset[str]:
    """Which of the dangerous commands these rules permit, as ``ACL GETUSER`` has them, first to last."""
    allowed: set[str] = set()
    for rule in rules.lower().split():
        sign, name = rule[:1], rule[1:]
        if name == "@all":
            meant = set(DANGEROUS)
        elif name.startswith("@"):
            meant = {command for command, some in _CATEGORIES.items() if name[1:] in some}
        else:
            meant = {name.upper()} & set(DANGEROUS)
        allowed = allowed | meant if sign == "+" else allowed - meant
    return frozenset(allowed)


def _pairs(reply: Any) -> Iterable[tuple[Any, Any]]:
    """What RESP2 has as a list of names and values, and RESP3 as a map."""
    return reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=False)


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
