"""Which server does a URL mean, and how is a connection to it made?

The connection classes are redis-py's, with their TLS, credentials and Sentinel look-ups; here they
are only chosen and given their arguments. redis-py's own retries, time-outs and pool bounds changed
with nearly every release and are not relied upon.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import unquote

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff

from django_redis_sessions import embedded
from django_redis_sessions.attempts import Attempts, Verdict
from django_redis_sessions.breaker import Breaker
from django_redis_sessions.configuration import SETTING, Settings, Target, target_of
from django_redis_sessions.errors import SessionStoreError, SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.faults import translated

_log = logging.getLogger("django_redis_sessions")

#: Connections one client may hold; callers beyond it wait for one to come back.
MAX_CONNECTIONS = 100
#: A connection that was idle for so many seconds is replaced: firewalls forget them, some after minutes.
LONGEST_REST = 60.0


@dataclass(frozen=True, slots=True)
class Library:
    """The blocking or the asynchronous half of redis-py."""

    pool: Any
    retry: Any
    sentinel: Any
    sentinel_pool: Any


BLOCKING = Library(
    redis.ConnectionPool, redis.retry.Retry, redis.sentinel.Sentinel, redis.sentinel.SentinelConnectionPool
)
AWAITING = Library(
    redis.asyncio.ConnectionPool,
    redis.asyncio.retry.Retry,
    redis.asyncio.sentinel.Sentinel,
    redis.asyncio.sentinel.SentinelConnectionPool,
)


class Route:
    """The way to one server, or to whatever server is the primary of a Sentinel service."""

    def __init__(
        self,
        settings: Settings,
        project: str,
        library: Library,
        breaker: Breaker,
        node: tuple[str, int] | None = None,
    ) -> None:
        self.breaker = breaker
        self.retries = settings.retries
        self.budget = settings.timeout * (settings.retries + 1)
        self.limit: int = settings.options.get("max_connections") or MAX_CONNECTIONS
        self._settings = settings
        self._project = project
        self._library = library
        self._node = node
        self._lock = threading.Lock()
        self._factory: Callable[[], Any] | None = None
        self._sentinel: Any = None
        self.address = f"{node[0]}:{node[1]}" if node else target_of(settings.url).address

    def new_connection(self) -> Any:
        """A connection that is not connected yet. Starts the embedded server when first called."""
        if self._factory is None:
            with self._lock:
                if self._factory is None:
                    self._factory = self._connection_factory()
        return self._factory()

    def translated(self, error: redis.RedisError) -> SessionStoreError:
        """The error of ours that ``error`` stands for on this route."""
        return translated(error, self.address, self._settings.timeout)

    def all_busy(self) -> SessionStoreUnavailable:
        """For a caller who has waited long enough for a connection."""
        return SessionStoreUnavailable(
            f"All {self.limit} connections to Redis at {self.address} were busy for {self.budget:g} s. "
            f"Look at the server, or raise {SETTING}['OPTIONS']['max_connections'].",
            address=self.address,
        )

    def out_of_order(self, seconds: float) -> SessionStoreUnavailable:
        """For a caller who does not even try."""
        return SessionStoreUnavailable(
            f"Redis at {self.address} has not answered for {seconds:.1f} s and is not asked before it does. "
            f"Sessions cannot be read or written now.",
            address=self.address,
        )

    def learn(self, verdict: Verdict, error: redis.RedisError) -> None:
        """Remember what a failed attempt says about the server; one line in the log for each outage."""
        if verdict.is_answer:
            self.answered()
        elif verdict.is_failure and self.breaker.failed(monotonic()):
            _log.error(
                "Sessions are unavailable: %s Others fail at once until it answers.",
                self.translated(error),
                extra={"redis_address": self.address},
            )

    def probe_failed(self, error: redis.RedisError) -> None:
        """A probe met ``error``: maybe an answer, of a kind, and then whoever asks next will be told."""
        if Attempts(0).judge(error, is_fresh=True).is_answer:
            self.answered()

    def answered(self) -> None:
        """The server has answered, be it with an error."""
        if self.breaker.answered():
            _log.warning(
                "Sessions are available again: Redis at %s answers.",
                self.address,
                extra={"redis_address": self.address},
            )

    async def aclose(self) -> None:
        """Close what was opened to ask sentinels on an event loop."""
        if self._sentinel is not None:
            for client in self._sentinel.sentinels:
                await client.aclose()

    def _connection_factory(self) -> Callable[[], Any]:
        target = target_of(self._settings.url)
        try:
            pool = self._pool(target)
            connection_class, arguments = pool.connection_class, pool.connection_kwargs
            connection_class(**arguments)
        except (TypeError, ValueError, redis.RedisError) as error:
            raise SessionStoreMisconfigured(
                f"redis-py does not accept {SETTING}['URL'] with these ['OPTIONS']: {type(error).__name__}. "
                f"See the documentation of redis-py's connection arguments.",
                address=self.address,
            ) from error
        # The pool only parses and chooses, its own hand-out is not used; but Sentinel connections
        # find their server through it, so it has to live as long as they do.
        return lambda: pool.connection_class(**arguments)

    def _pool(self, target: Target) -> Any:
        url = target.plain_url
        if target.scheme == "embedded":
            path = unquote(target.path)
            url = f"unix://{embedded.socket_for(path or None, self._project)}"
        pool = self._library.pool.from_url(url, **self._arguments())
        if target.service is None:
            if self._node is not None:
                pool.connection_kwargs.update(host=self._node[0], port=self._node[1])
            return pool
        return self._sentinel_pool(target, dict(pool.connection_kwargs), pool.connection_class)

    def _sentinel_pool(self, target: Target, arguments: dict[str, Any], connection_class: Any) -> Any:
        for name in ("host", "port"):
            arguments.pop(name, None)
        own = {name: arguments.pop(name, None) for name in ("sentinel_username", "sentinel_password")}
        shared = {name: value for name, value in arguments.items() if name.startswith(("ssl", "socket_"))}
        sentinel_arguments = {
            **shared,
            "retry": self._library.retry(NoBackoff(), 0),
            "protocol": 2,
            "ssl": target.is_tls,
            "username": own["sentinel_username"],
            "password": own["sentinel_password"],
            **self._settings.options.get("sentinel_kwargs", {}),
        }
        self._sentinel = self._library.sentinel(list(target.hosts), sentinel_kwargs=sentinel_arguments)
        for unknown in ("himport_registry", "event_dispatcher", "maint_notifications_config"):
            arguments.pop(unknown, None)
        return self._library.sentinel_pool(target.service, self._sentinel, ssl=target.is_tls, **arguments)

    def _arguments(self) -> dict[str, Any]:
        ours = ("max_connections", "sentinel_kwargs")
        return {
            "socket_timeout": self._settings.timeout,
            "socket_connect_timeout": self._settings.timeout,
            # RESP2 spares a HELLO for each connection and is spoken by every proxy and service.
            "protocol": 2,
            **{name: value for name, value in self._settings.options.items() if name not in ours},
            "retry": self._library.retry(NoBackoff(), 0),
            "retry_on_error": [],
        }
