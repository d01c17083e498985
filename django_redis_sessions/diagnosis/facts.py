"""What has to be known of a site, its servers and its sessions, to judge them?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django_redis_sessions.census import Census
from django_redis_sessions.configuration import Settings, Target, database_of, target_of
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.protection import NO_KEYS, KeyRing

#: Commands that a user who keeps sessions has no use for, each with arguments that it could be given.
DANGEROUS: Mapping[str, tuple[str, ...]] = {
    "FLUSHALL": (),
    "FLUSHDB": (),
    "KEYS": ("*",),
    "CONFIG": ("SET", "maxmemory", "0"),
    "DEBUG": ("SLEEP", "0"),
}


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache of the project that lives in Redis: its alias in CACHES, and servers with a database each."""

    alias: str
    places: frozenset[tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the project's settings say; ``given`` are the names that its SESSION_REDIS has, ``ring`` its keys.

    ``is_engine`` says whether SESSION_ENGINE is this package's, ``is_leaving`` whether it is one of its
    engines for leaving, ``has_middleware`` whether MIDDLEWARE has this package's; a subclass counts.
    Durations in seconds.
    """

    settings: Settings
    ring: KeyRing = NO_KEYS
    given: frozenset[str] = frozenset()
    is_debug: bool = False
    is_engine: bool = True
    is_leaving: bool = False
    has_middleware: bool = True
    serializer: str = "django.contrib.sessions.serializers.JSONSerializer"
    saves_every_request: bool = False
    cookie_age: int = 1209600
    sets_cookie_age: bool = False
    expires_at_browser_close: bool = False
    cookie_secure: bool = True
    cookie_httponly: bool = True
    cookie_samesite: str | None = "Lax"
    caches: tuple[Cache, ...] = ()

    @cached_property
    def target(self) -> Target:
        """Where the sessions are."""
        return target_of(self.settings.url)

    @property
    def idle_life(self) -> int:
        """For how many seconds a session lives that nobody uses."""
        return self.cookie_age if self.settings.ttl is None else self.settings.ttl

    @property
    def database(self) -> int:
        """The number of the sessions' database."""
        return database_of(self.settings.url, self.settings.options)

    @property
    def is_remote(self) -> bool:
        """Whether sessions cross a network."""
        return any(not _is_here(host) for host, _ in self.target.hosts)

    @property
    def has_password(self) -> bool:
        """Whether the site proves who it is."""
        return bool(self._credential("password") or self.settings.options.get("credential_provider"))

    @property
    def has_user(self) -> bool:
        """Whether the site is a user of its own, as far as the settings say."""
        user = self._credential("username")
        return bool(user and user != "default") or bool(self.settings.options.get("credential_provider"))

    @property
    def protocol(self) -> int:
        """The version of Redis's protocol that is spoken."""
        return int(self._option("protocol") or 2)

    @property
    def verifies_certificates(self) -> bool:
        """Whether the server has to prove who it is."""
        wanted = str(self._option("ssl_cert_reqs") or "required").lower().rpartition(".")[2]
        checks_name = str(self._option("ssl_check_hostname")).lower() not in ("false", "0", "no")
        return wanted not in ("none", "cert_none", "0", "optional", "cert_optional", "1") and checks_name

    def _option(self, name: str) -> Any:
        asked = parse_qs(urlsplit(self.target.plain_url).query).get(name)
        return asked[0] if asked else self.settings.options.get(name)

    def _credential(self, name: str) -> Any:
        return getattr(urlsplit(self.target.plain_url), name) or self._option(name)


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, as its primary sees it; ``behind`` in bytes, ``lag`` in seconds."""

    address: str
    is_online: bool
    behind: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a server says about itself; None stands for what it does not say to this user.

    ``outage`` says why nothing else is known. ``pings`` and ``skew`` are in seconds; the skew is how much
    the server's clock is ahead. ``allowed`` are those of ``DANGEROUS`` that the user may use. ``restores``
    says whether the user default may write, as whom a server loads its append-only file.
    """

    address: str = ""
    outage: str | None = None
    pings: tuple[float, ...] = ()
    info: Mapping[str, str] | None = None
    config: Mapping[str, str] | None = None
    skew: float | None = None
    user: str | None = None
    allowed: frozenset[str] | None = None
    restores: bool | None = None

    @property
    def replicas(self) -> list[Replica]:
        """Its replicas; empty also where the server does not say."""
        info = self.info or {}
        end = int(info.get("master_repl_offset", 0))
        return [
            _replica(value, end) for name, value in sorted(info.items()) if re.fullmatch(r"slave\d+", name)
        ]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a sample of the sessions shows; ``signed_in`` were looked up, ``unlisted`` are in no index.

    Both are None where the project keeps no index. ``quiet`` is for how many seconds no session has come from
    FALLBACK_ENGINES, None if none has, or nobody remembers. ``opened`` are protected sessions that were tried,
    ``foreign`` those of them that did not open although their key is there.
    """

    census: Census
    signed_in: int | None = None
    unlisted: int | None = None
    quiet: int | None = None
    opened: int = 0
    foreign: int = 0


def cache_at(alias: str, location: object, options: Mapping[str, Any]) -> Cache | None:
    """The cache at this LOCATION; None if that does not lead to Redis."""
    urls: Iterable[object] = re.split("[;,]", location) if isinstance(location, str) else location  # type: ignore[assignment]  # a list, as CACHES has it
    places: set[tuple[str, int]] = set()
    try:
        for url in map(str, urls):
            database = database_of(url, {"db": options.get("db", options.get("DB", ""))})
            places |= {(server, database) for server in servers_of(target_of(url))}
    except (SessionStoreMisconfigured, TypeError):
        return None
    return Cache(alias, frozenset(places)) if places else None


def servers_of(target: Target) -> set[str]:
    """The servers of a URL, named alike however they are spelt."""
    if target.scheme == "unix":
        return {target.path}
    return {f"{'localhost' if _is_here(host) else host}:{port}" for host, port in target.hosts}


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _replica(value: str, end: int) -> Replica:
    """From ``ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0``."""
    parts = dict(part.partition("=")[::2] for part in value.split(","))
    return Replica(
        address=f"{parts.get('ip', '?')}:{parts.get('port', '?')}",
        is_online=parts.get("state") == "online",
        behind=max(0, end - int(parts.get("offset", 0))),
        lag=int(parts.get("lag", 0)),
    )
