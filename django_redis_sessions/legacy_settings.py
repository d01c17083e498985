"""What is a ``SESSION_REDIS`` of the package django-redis-sessions in the words of this one?

Its names are lower-case. No password is repeated: what is advised ends up in terminals and in logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

#: All names that the other package knows.
NAMES = (
    "host",
    "port",
    "db",
    "password",
    "prefix",
    "socket_timeout",
    "retry_on_timeout",
    "unix_domain_socket_path",
    "url",
    "pool",
    "sentinel_list",
    "sentinel_master_alias",
)
#: Stands where the password belongs.
PASSWORD = "{os.environ['REDIS_PASSWORD']}"  # noqa: S105 - it is none


def advice(given: Mapping[Any, Any]) -> str:
    """The equivalent ``SESSION_REDIS``, and how the sessions that are stored already come along."""
    if given.get("pool"):
        return (
            "A pool of servers has no equivalent: name one server, a Sentinel service or a cluster in URL, and "
            "import from each server of the pool (manage.py redis_sessions import --from redis_sessions.session)."
        )
    url = _url(given)
    values = ", ".join(f"{name!r}: {text}" for name, text in _settings(given, url))
    start = f" --legacy-prefix {given['prefix']}" if given.get("prefix") else ""
    come_along = (
        f"manage.py redis_sessions import --from redis_sessions.session --legacy-url {_plain(url)}{start}"
    )
    return f"Write SESSION_REDIS = {{{values}}}. The sessions of before come along with: {come_along}"


def _settings(given: Mapping[Any, Any], url: str) -> Iterator[tuple[str, str]]:
    yield "URL", f"f{_quoted(url)}" if PASSWORD in url else _quoted(url)
    if given.get("prefix"):
        yield "PREFIX", repr(str(given["prefix"]))
    if isinstance(given.get("socket_timeout"), (int, float)):
        yield "TIMEOUT", repr(given["socket_timeout"])


def _url(given: Mapping[Any, Any]) -> str:
    secret = f":{PASSWORD}@" if given.get("password") else ""
    database = given.get("db") or 0
    if hosts := _hosts(given.get("sentinel_list")):
        service = quote(str(given.get("sentinel_master_alias") or "mymaster"))
        return f"redis+sentinel://{secret}{hosts}/{service}/{database}"
    if given.get("url"):
        return _masked(str(given["url"]))
    if given.get("unix_domain_socket_path"):
        suffix = f"?db={database}" if database else ""
        return f"unix://{secret}{given['unix_domain_socket_path']}{suffix}"
    return f"redis://{secret}{given.get('host') or 'localhost'}:{given.get('port') or 6379}/{database}"


def _hosts(sentinels: Any) -> str:
    """Hosts and ports as a URL has them; what is no list of pairs is left out."""
    if not isinstance(sentinels, (list, tuple)):
        return ""
    pairs = (each for each in sentinels if isinstance(each, (list, tuple)) and len(each) == 2)
    return ",".join(f"{host}:{port}" for host, port in pairs)


def _masked(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    # Before a lone word in front of @, nobody knows whether it is the password.
    name = user if colon else ""
    query = "" if "password" in parts.query else parts.query
    netloc = f"{name}:{PASSWORD}@{host}" if at else host
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _plain(url: str) -> str:
    """For a shell, which takes the password from the environment as well."""
    return f'"{url.replace(PASSWORD, "$REDIS_PASSWORD")}"'


def _quoted(url: str) -> str:
    return f'"{url}"'
