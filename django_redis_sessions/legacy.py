"""What has the package django-redis-sessions left in Redis?

Its engine ``redis_sessions.session`` kept each session as text that Django has signed, under
``<prefix>:<session key>`` or, without a prefix, under the bare session key. It need not be installed to
read that: the text is what ``SessionBase.encode()`` makes for every engine whose class is called
``SessionStore``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from django_redis_sessions.configuration import Settings
from django_redis_sessions.engines import BATCH, Engine, Found, Listed
from django_redis_sessions.errors import SessionStoreError, SessionStoreRefused
from django_redis_sessions.executors import run
from django_redis_sessions.keys import escaped, is_plausible
from django_redis_sessions.operations import Command, Operation, Saying, masters, or_raise
from django_redis_sessions.store import Store

ENGINE = "redis_sessions.session"


class SessionStore(SessionBase):
    """Reads the text; the class's name is part of the signature."""


class Legacy(Engine):
    """Sessions of ``redis_sessions.session`` on the server at ``url``; errors name the server."""

    def __init__(self, url: str, prefix: str = "") -> None:
        super().__init__(ENGINE, SessionStore)
        self._start = f"{prefix}:" if prefix else ""
        self._connections = Store.of(Settings(url=url)).connections

    def _find(self, session_key: str) -> Found | None:
        for each in run(self._connections.client(), self._read([session_key])):
            if data := self.opened(each.content):
                return Found(data, each.life)
        return None

    def _exists(self, session_key: str) -> bool:
        return bool(self._present([session_key]))

    def _delete(self, session_key: str) -> None:
        run(self._connections.client(), _say([("UNLINK", self._start + session_key)]))

    def _present(self, session_keys: Sequence[str]) -> set[str]:
        commands: list[Command] = [("EXISTS", self._start + session_key) for session_key in session_keys]
        replies = run(self._connections.client(), _say(commands))
        return {session_key for session_key, is_there in zip(session_keys, replies, strict=True) if is_there}

    def _pages(self) -> Iterator[list[Listed]]:
        servers = run(self._connections.client(), masters())
        for server in servers:
            cursor: int | None = None
            while cursor != 0:
                cursor, session_keys = run(self._connections.client(), self._scan(server, cursor or 0))
                if session_keys:
                    yield run(self._connections.client(), self._read(session_keys))

    def _scan(self, server: Any, cursor: int) -> Operation[tuple[int, list[str]]]:
        pattern = f"{escaped(self._start)}*"
        command = ("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH, "TYPE", "string")
        next_cursor, found = yield Saying(server, command)
        names = [name.decode(errors="replace")[len(self._start) :] for name in found]
        # Keys of other programs, and of this package, have colons or other marks in them.
        return int(next_cursor), [name for name in names if is_plausible(name)]

    def _read(self, session_keys: list[str]) -> Operation[list[Listed]]:
        commands: list[Command] = []
        for session_key in session_keys:
            commands += [("GET", self._start + session_key), ("PTTL", self._start + session_key)]
        replies = yield commands
        found = []
        for at, session_key in enumerate(session_keys):
            content, life = replies[2 * at : 2 * at + 2]
            for reply in (content, life):
                # Only what is no text is no session: a missing right, for example, would leave some behind.
                if isinstance(reply, SessionStoreError) and not isinstance(reply, SessionStoreRefused):
                    raise reply
            if isinstance(content, bytes) and isinstance(life, int) and life != -2:
                text = content.decode(errors="replace")
                found.append(Listed(session_key, text, life / 1000 if life >= 0 else self._usual_life({})))
        return found


def _say(commands: list[Command]) -> Operation[list[Any]]:
    return [or_raise(reply) for reply in (yield commands)]
