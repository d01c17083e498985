"""What may a project set, and what is wrong with what it has set?

Plain values in, plain values out: no Django here. ``conf`` reads the setting, ``checks`` reports
``problems()`` and the running code raises them, so no rule is written twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from django_redis_sessions import legacy_settings, protection, schemes
from django_redis_sessions.errors import SessionStoreMisconfigured
from django_redis_sessions.expiry import LONGEST_TTL, ttl_for

SETTING = "SESSION_REDIS"
URL_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "embedded",
)
REDIS_PORT, SENTINEL_PORT = 6379, 26379
CONFLICTS = ("merge", "overwrite", "strict")
INTERRUPTIONS = ("raise", "drop")
OUTAGES = ("error", "anonymous")
#: Every sign-in beyond the limit looks through all sessions of its user.
LARGEST_LIMIT = 1000
#: Bytes that ``MAX_SIZE`` may be: what a little cart needs, and what Redis takes for one value.
SMALLEST_SIZE, LARGEST_SIZE = 1024, 512 * 1024 * 1024
#: What may stand behind the slash of ``ANONYMOUS_BUDGET``, in seconds.
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: A budget of more is none.
LARGEST_BUDGET = 1_000_000
LIMIT_POLICIES = ("oldest-out", "refuse")
COMPRESSIONS = ("dictionary", "zlib", None)
DEVICES = ("full", "masked", "agent", None)
#: Characters of a region's name, which stands in front of every session key.
LONGEST_REGION = 6


class Deployment(NamedTuple):
    """One Redis deployment, of any topology."""

    url: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project may set in ``SESSION_REDIS``; every duration is in seconds."""

    url: str = "redis://localhost:6379/0"
    options: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = "session"
    ttl: int | None = None
    anonymous_ttl: int | None = None
    absolute_ttl: int | None = None
    probation_ttl: int | None = None
    rolling: float | None = None
    conflict: str = "merge"
    interrupted: str = "raise"
    #: Of ``schemes.SCHEMES``, or dotted paths of classes; the first makes new session keys.
    keys: tuple[str, ...] = ("hashed",)
    #: One of ``COMPRESSIONS``, or several of them and of dictionary files' paths, the first for new records.
    compression: str | tuple[str | None, ...] | None = "dictionary"
    #: The first is for new records; None there: they are not encrypted. No ``repr`` may show them.
    encryption_keys: tuple[bytes | None, ...] = field(default=(), repr=False)
    sign: bool = False
    generation: int = 0
    accept_unprotected: bool = False
    timeout: float = 1.0
    retries: int = 1
    wait_replicas: int = 0
    on_outage: str = "error"
    user_index: bool = True
    #: 0 for any number.
    max_sessions_per_user: int = 0
    on_limit: str = "oldest-out"
    #: Bytes of a record; None for any number.
    max_size: int | None = 1_048_576
    #: So many anonymous sessions in so many seconds; None for any number.
    anonymous_budget: tuple[int, int] | None = None
    #: One of ``DEVICES``, or the dotted path of a function of the project's.
    devices: str | None = "full"
    last_seen: int | None = 300
    #: The dotted path of an object, or of a class without arguments.
    metrics: str | None = None
    #: Dotted paths of the engines that sessions are adopted from.
    fallback_engines: tuple[str, ...] = ()
    #: By name; in the first, session keys are as they were before there were regions.
    regions: Mapping[str, Deployment] = field(default_factory=dict)
    #: Of these, the one whose ``url`` and ``options`` these settings have: at first where this process is at home.
    region: str | None = None
    #: The dotted path of a function.
    region_router: str | None = None

    @property
    def is_first_region(self) -> bool:
        """Whether this is the one whose session keys have no region's name."""
        return self.region == next(iter(self.regions), None)

    def at(self, region: str) -> Settings:
        """The settings of another region of the same project."""
        url, options = self.regions[region]
        return replace(self, region=region, url=url, options=options)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration; ``id`` is the number of its system check."""

    id: str
    message: str
    hint: str | None = None


def problems(given: object) -> list[Problem]:
    """All that is wrong with a value of ``SESSION_REDIS``; empty when it can be used."""
    if not isinstance(given, Mapping):
        return [
            Problem("E001", f"{SETTING} is not a dict.", f"Write {SETTING} = {{'URL': '{Settings().url}'}}.")
        ]
    return [*_legacy(given), *_unknown_names(given), *_unusable_values(given), *_contradictions(given)]


def settings_from(given: object) -> Settings:
    """The settings a value of ``SESSION_REDIS`` stands for; ``SessionStoreMisconfigured`` names all problems."""
    refuse(problems(given))
    assert isinstance(given, Mapping)
    read = Settings(**{name.lower(): _RULES[name].read(value) for name, value in given.items()})
    if not read.regions:
        return read
    regions = {name: Deployment(url, {**read.options, **own}) for name, (url, own) in read.regions.items()}
    return replace(read, regions=regions).at(read.region or next(iter(regions)))


def refuse(found: Sequence[Problem]) -> None:
    """``SessionStoreMisconfigured`` in the words of these problems, if there are any."""
    if found:
        raise SessionStoreMisconfigured(" ".join(_sentence(problem) for problem in found))


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL leads to; ``plain_url`` is the part that redis-py understands.

    ``hosts`` are servers, sentinels or cluster nodes. ``service`` is a Sentinel service's name.
    """

    scheme: str
    plain_url: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether sessions live on several servers, by slot."""
        return self.scheme.endswith("+cluster")

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def address(self) -> str:
        """Where that is, without credentials."""
        where = ",".join(f"{host}:{port}" for host, port in self.hosts)
        if self.service is not None:
            return f"{self.service}@{where}"
        return where or f"{self.scheme}://{self.path}"


def target_of(url: str) -> Target:
    """What ``url`` leads to; ``SessionStoreMisconfigured`` without a word of it, since it may hold a password."""
    try:
        scheme, _, rest = url.partition("://")
        if scheme in ("unix", "embedded"):
            return Target(scheme, url, path=urlsplit(url).path)
        authority, slash, tail = rest.partition("/")
        credentials, at, names = authority.rpartition("@")
        default = SENTINEL_PORT if scheme.endswith("+sentinel") else REDIS_PORT
        hosts = tuple(_host_and_port(name, default) for name in names.split(",") if name)
        service = None
        if scheme.endswith("+sentinel"):
            path, question, query = tail.partition("?")
            service, _, database = unquote(path).partition("/")
            tail = f"{database}{question}{query}"
        plain = f"{scheme.partition('+')[0]}://{credentials}{at}{names.partition(',')[0]}{slash}{tail}"
        urlsplit(plain).port  # noqa: B018 - reading it is what validates it
    except ValueError:
        raise SessionStoreMisconfigured(
            f"{SETTING}['URL'] cannot be read as a URL. Percent-encode special characters in the password "
            f"(urllib.parse.quote), and check the port."
        ) from None
    return Target(scheme, plain, hosts, f"{slash}{tail}", service)


def database_of(url: str, options: Mapping[str, Any]) -> int:
    """The number of the database that ``url`` leads to, or else ``options``; 0 if neither says."""
    target = target_of(url)
    parts = urlsplit(target.plain_url)
    in_path = "" if target.scheme in ("unix", "embedded") else parts.path.strip("/")
    for value in (*parse_qs(parts.query).get("db", ()), in_path, str(options.get("db", ""))):
        # Python refuses to read a number of thousands of digits.
        if value.isdecimal() and len(value) < 10:
            return int(value)
    return 0


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or default


def _sentence(problem: Problem) -> str:
    return f"{problem.message} {problem.hint}" if problem.hint else problem.message


def _unknown_names(given: Mapping[Any, Any]) -> Iterator[Problem]:
    is_legacy = _is_legacy(given)
    for name in given:
        if name not in _RULES and not (is_legacy and name in legacy_settings.NAMES):
            near = get_close_matches(str(name).upper(), _RULES, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known names: {', '.join(_RULES)}."
            yield Problem("E002", f"{SETTING} has no setting {name!r}.", hint)


def _is_legacy(given: Mapping[Any, Any]) -> bool:
    # A lower-case "url" or "prefix" alone is just as well a misspelt one of ours.
    return any(name in legacy_settings.NAMES and str(name).upper() not in _RULES for name in given)


def _legacy(given: Mapping[Any, Any]) -> Iterator[Problem]:
    if _is_legacy(given):
        yield Problem(
            "E007",
            f"{SETTING} is written as for the package django-redis-sessions, which this is not.",
            legacy_settings.advice(given),
        )


def _unusable_values(given: Mapping[Any, Any]) -> Iterator[Problem]:
    for name, rule in _RULES.items():
        if name in given and (wrong := rule.wrong(given[name])):
            yield Problem("E003", f"{SETTING}[{name!r}] {wrong}.", rule.hint)


def _contradictions(given: Mapping[Any, Any]) -> Iterator[Problem]:
    if given.get("MAX_SESSIONS_PER_USER") is not None and given.get("USER_INDEX") is False:
        yield Problem(
            "E003",
            f"{SETTING}['MAX_SESSIONS_PER_USER'] needs the index that {SETTING}['USER_INDEX'] turns off.",
            "Remove one of them.",
        )
    if given.get("GENERATION") and not (given.get("SIGN") or given.get("ENCRYPTION_KEYS")):
        yield Problem(
            "E003",
            f"{SETTING}['GENERATION'] ends no session: records that are not protected have none.",
            f"Set {SETTING}['SIGN'] or {SETTING}['ENCRYPTION_KEYS'] too, or remove it.",
        )
    yield from _regional_contradictions(given)
    if given.get("FALLBACK_ENGINES") and given.get("KEYS") in ("signed", ["signed"], ("signed",)):
        yield Problem(
            "E003",
            f"{SETTING}['KEYS'] refuses every session key of the engines that {SETTING}['FALLBACK_ENGINES'] names.",
            "Write ['signed', 'hashed'] as long as sessions come from there.",
        )


def _regional_contradictions(given: Mapping[Any, Any]) -> Iterator[Problem]:
    regions, home = given.get("REGIONS"), given.get("REGION")
    if not regions:
        for name in ("REGION", "REGION_ROUTER"):
            if given.get(name) is not None:
                yield Problem(
                    "E003", f"{SETTING}[{name!r}] has no effect without {SETTING}['REGIONS'].", "Remove it."
                )
        return
    if "URL" in given:
        yield Problem(
            "E003",
            f"{SETTING}['URL'] has no effect beside {SETTING}['REGIONS'].",
            "Make it the URL of the first region: that is where the sessions are that were stored before.",
        )
    if isinstance(regions, Mapping) and isinstance(home, str) and home not in regions:
        near = get_close_matches(home, map(str, regions), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(map(str, regions))}."
        yield Problem(
            "E003", f"{SETTING}['REGION'] is {home!r}, which {SETTING}['REGIONS'] does not name.", hint
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one setting is judged and read; ``wrong`` finishes a sentence or gives None."""

    wrong: Callable[[Any], str | None]
    hint: str | None = None
    read: Callable[[Any], Any] = lambda value: value


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _wrong_duration(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        return f"is {value!r}, which is no duration"
    seconds = _seconds(value)
    if not 0 < seconds <= LONGEST_TTL or not math.isfinite(seconds):
        return f"is {value!r}, but must be above zero and below {LONGEST_TTL} seconds"
    return None


def _or_none(wrong: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else wrong(value)


def _one_of(*choices: str | None, or_else: str = "") -> Callable[[Any], str | None]:
    def wrong(value: object) -> str | None:
        if value in choices:
            return None
        near = get_close_matches(str(value), [choice for choice in choices if choice], n=1)
        suggestion = f"; did you mean {near[0]!r}" if near else ""
        return f"is {value!r}, but must be one of {', '.join(map(repr, choices))}{or_else}{suggestion}"

    return wrong


# What a URL might say although another setting decides.
_SET_ELSEWHERE = {
    "decode_responses": "no Redis that keeps sessions, because records are bytes",
    "max_connections": f"{SETTING}['OPTIONS']",
    "socket_timeout": f"{SETTING}['TIMEOUT']",
    "socket_connect_timeout": f"{SETTING}['TIMEOUT']",
}


def _wrong_url(value: object) -> str | None:
    if not isinstance(value, str):
        return "is not a string"
    try:
        target = target_of(value)
    except SessionStoreMisconfigured:
        return "cannot be read as a URL (percent-encode special characters in the password, check the port)"
    if target.scheme not in URL_SCHEMES:
        near = get_close_matches(target.scheme, URL_SCHEMES, n=1)
        suggestion = f"; did you mean {near[0] + '://'!r}" if near else ""
        return f"starts with {target.scheme + '://'!r}, which is not supported{suggestion}"
    if target.scheme == "unix" and not target.path:
        return "names no socket"
    if (
        target.scheme == "embedded"
        and not value.startswith(("embedded:///", "embedded://?"))
        and value != "embedded://"
    ):
        return "names a host; a directory needs three slashes, as in 'embedded:///var/tmp/sessions'"
    if target.scheme not in ("unix", "embedded") and not all(host for host, _ in target.hosts or (("", 0),)):
        return "names no host"
    if len(target.hosts) > 1 and "+" not in target.scheme:
        return "names several hosts, which only redis+sentinel:// and redis+cluster:// do"
    if target.service == "":
        return "names no Sentinel service, as 'mymaster' is one in 'redis+sentinel://host:26379/mymaster'"
    if target.is_cluster and urlsplit(target.plain_url).path not in ("", "/", "/0"):
        return "names a database, but a cluster has only number 0"
    for name in parse_qs(urlsplit(target.plain_url).query):
        if name in _SET_ELSEWHERE:
            return f"sets {name}, which belongs in {_SET_ELSEWHERE[name]}"
    return None


def _wrong_options(value: object) -> str | None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return "is not a dict of redis-py's keyword arguments"
    if value.get("decode_responses"):
        return "asks for decode_responses, but records are bytes"
    if value.get("read_from_replicas"):
        return "asks to read from replicas, which lag: a session could be read as it was before it was saved"
    if "socket_timeout" in value:
        return f"sets socket_timeout, which belongs in {_SET_ELSEWHERE['socket_timeout']}"
    return None


def _wrong_prefix(value: object) -> str | None:
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value:
        return f"is {value!r}, but must be a word"
    return None


def _wrong_compression(value: object) -> str | None:
    if isinstance(value, (list, tuple)):
        if not value:
            return "is an empty list"
        return next(filter(None, map(_wrong_way, value)), None)
    return _wrong_way(value)


def _wrong_way(value: object) -> str | None:
    # A word with a dot or a slash cannot be a misspelt one.
    if isinstance(value, PathLike) or (isinstance(value, str) and any(mark in value for mark in "./\\")):
        return None
    return _one_of(*COMPRESSIONS, or_else=", or the path of a dictionary file")(value)


def _compression(value: Any) -> str | tuple[str | None, ...] | None:
    """A word as it is, and several ways, or the path of a file, as a tuple."""
    if isinstance(value, (list, tuple)):
        return tuple(each if each is None else fspath(each) for each in value)
    if value in COMPRESSIONS:
        return value  # type: ignore[no-any-return]  # `in` narrows nothing
    return (fspath(value),)


_MAKE_A_KEY = "Make a key with: python -c 'import secrets; print(secrets.token_hex(32))'"


def _wrong_encryption_keys(value: object) -> str | None:
    # In no words that repeat a key.
    if isinstance(value, (str, bytes)):
        return "is one text, but must be a list of keys: write it between brackets, ['…']"
    if not isinstance(value, (list, tuple)):
        return "is no list of keys"
    if not value:
        return "is an empty list; leave it out to encrypt nothing"
    known: dict[bytes, int] = {}
    for number, each in enumerate(value, 1):
        if each is None and number == 1 and len(value) > 1:
            continue
        if each is None:
            return "has None where it says nothing: None only stands first, with keys behind it"
        try:
            key = protection.key_from(each)
        except ValueError as error:
            return f"has a key, number {number}, that {error}. {_MAKE_A_KEY}"
        if key in known:
            return f"has a key twice, as number {known[key]} and as number {number}"
        known[key] = number
    return None


def _encryption_keys(value: Sequence[Any] | None) -> tuple[bytes | None, ...]:
    return tuple(each if each is None else protection.key_from(each) for each in value or ())


def _wrong_generation(value: object) -> str | None:
    largest = protection.LARGEST_GENERATION
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        return f"is {value!r}, but must be a whole number from 0 to {largest}"
    return None


def _is_module(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_path(value: object) -> bool:
    return _is_module(value) and "." in str(value)


def _wrong_keys(value: object) -> str | None:
    if not isinstance(value, (list, tuple)):
        return _wrong_scheme(value)
    if not value:
        return "is an empty list"
    for number, each in enumerate(value):
        if wrong := _wrong_scheme(each):
            return wrong
        if each in value[:number]:
            return f"names {each!r} twice"
    return None


def _wrong_scheme(value: object) -> str | None:
    # A word with a dot in it cannot be a misspelt one.
    if _is_path(value):
        return None
    return _one_of(*schemes.SCHEMES, or_else=", or the dotted path of a class")(value)


def _keys(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _wrong_path(value: object) -> str | None:
    return None if _is_path(value) else f"is {value!r}, but must be a dotted path"


def is_region(name: object) -> bool:
    """Whether a region may have this name: up to six lower-case letters and digits."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_REGION:
        return False
    return name.isascii() and name.isalnum() and name == name.lower()


def _wrong_regions(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return "is no dict of URLs"
    known: dict[tuple[str, int], str] = {}
    for name, given in value.items():
        if not is_region(name):
            return f"names {name!r}, but a region has a name of 1 to {LONGEST_REGION} lower-case letters or digits"
        deployment: Any = {"URL": given} if isinstance(given, str) else given
        if not isinstance(deployment, Mapping) or not {"URL"} <= set(deployment) <= {"URL", "OPTIONS"}:
            return f"has under {name!r} neither a URL nor a dict of URL and OPTIONS"
        if wrong := _wrong_url(deployment["URL"]) or _wrong_options(deployment.get("OPTIONS", {})):
            return f"has under {name!r} what {wrong}"
        options = deployment.get("OPTIONS", {})
        place = (target_of(deployment["URL"]).address, database_of(deployment["URL"], options))
        if place in known:
            return f"leads from {known[place]!r} and from {name!r} to the same place"
        known[place] = name
    return None


def _regions(value: Mapping[str, Any] | None) -> dict[str, Deployment]:
    return {
        name: Deployment(given, {})
        if isinstance(given, str)
        else Deployment(given["URL"], given.get("OPTIONS", {}))
        for name, given in (value or {}).items()
    }


def _wrong_region(value: object) -> str | None:
    return None if is_region(value) else f"is {value!r}, which is no name of a region"


def _wrong_devices(value: object) -> str | None:
    # A word with a dot in it cannot be a misspelt one.
    if _is_path(value):
        return None
    return _one_of(*DEVICES, or_else=", or the dotted path of a function")(value)


def _wrong_engines(value: object) -> str | None:
    if not isinstance(value, (list, tuple)):
        return "is no list of dotted paths"
    for path in value:
        if not _is_module(path):
            return f"names {path!r}, which is no dotted path"
    return None


def _wrong_count(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10:
        return f"is {value!r}, but must be a whole number from 0 to 10"
    return None


def _wrong_switch(value: object) -> str | None:
    return None if isinstance(value, bool) else f"is {value!r}, but must be True or False"


def _wrong_limit(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_LIMIT:
        return f"is {value!r}, but must be a whole number from 1 to {LARGEST_LIMIT}"
    return None


def _wrong_size(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not SMALLEST_SIZE <= value <= LARGEST_SIZE:
        return f"is {value!r}, but must be a whole number of bytes from {SMALLEST_SIZE} to {LARGEST_SIZE}"
    return None


def _wrong_budget(value: object) -> str | None:
    number, seconds = _budget(value) or (0, 0)
    if 0 < number <= LARGEST_BUDGET and 0 < seconds <= PERIODS["d"]:
        return None
    return f"is {value!r}, but must be such as '60/h', or a number and seconds up to a day"


def _budget(value: Any) -> tuple[int, int] | None:
    """A number of sessions and seconds; zero or None for what is neither way to write it."""
    if isinstance(value, str):
        number, _, unit = value.partition("/")
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        return (int(number), PERIODS.get(unit, 0)) if is_number else None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    number, seconds = value
    if isinstance(number, bool) or not isinstance(number, int) or _wrong_duration(seconds):
        return None
    return number, math.ceil(_seconds(seconds))


def _wrong_share(value: object) -> str | None:
    if isinstance(value, bool) or (isinstance(value, (int, float)) and 0 <= value < 1):
        return None
    return f"is {value!r}, but must be True, False or a share of the life"


def _share(value: bool | float) -> float | None:
    if value is False:
        return None
    return 0.0 if value is True else float(value)


def _ttl(value: timedelta | float | None) -> int | None:
    return None if value is None else ttl_for(_seconds(value))


_TTL = _Rule(_or_none(_wrong_duration), "Use seconds, a timedelta or None.", _ttl)

_RULES: dict[str, _Rule] = {
    "URL": _Rule(_wrong_url, f"Use one of {', '.join(scheme + '://' for scheme in URL_SCHEMES)}."),
    "OPTIONS": _Rule(_wrong_options),
    "PREFIX": _Rule(_wrong_prefix),
    "TTL": _TTL,
    "ANONYMOUS_TTL": _TTL,
    "ABSOLUTE_TTL": _TTL,
    "PROBATION_TTL": _TTL,
    "ROLLING": _Rule(_wrong_share, "Use True, False, or a number from 0 to below 1 such as 0.5.", _share),
    "CONFLICT": _Rule(_one_of(*CONFLICTS)),
    "INTERRUPTED": _Rule(_one_of(*INTERRUPTIONS)),
    "KEYS": _Rule(_wrong_keys, "The first of a list makes new session keys.", _keys),
    "COMPRESSION": _Rule(
        _wrong_compression, "A path has a dot or a slash in it, or is a pathlib.Path.", _compression
    ),
    "ENCRYPTION_KEYS": _Rule(_or_none(_wrong_encryption_keys), read=_encryption_keys),
    "SIGN": _Rule(_wrong_switch),
    "GENERATION": _Rule(_wrong_generation),
    "ACCEPT_UNPROTECTED": _Rule(_wrong_switch),
    "TIMEOUT": _Rule(_wrong_duration, "Use seconds or a timedelta.", _seconds),
    "RETRIES": _Rule(_wrong_count),
    "WAIT_REPLICAS": _Rule(_wrong_count),
    "ON_OUTAGE": _Rule(_one_of(*OUTAGES)),
    "USER_INDEX": _Rule(_wrong_switch),
    "MAX_SESSIONS_PER_USER": _Rule(
        _or_none(_wrong_limit), "Use None for any number.", lambda value: value or 0
    ),
    "ON_LIMIT": _Rule(_one_of(*LIMIT_POLICIES)),
    "MAX_SIZE": _Rule(_or_none(_wrong_size), "Use None for any size."),
    "ANONYMOUS_BUDGET": _Rule(_or_none(_wrong_budget), "Use None for any number.", _budget),
    "DEVICES": _Rule(_wrong_devices),
    "LAST_SEEN": _TTL,
    "METRICS": _Rule(_or_none(_wrong_path), "Name a subclass of django_redis_sessions.metrics.Metrics."),
    "FALLBACK_ENGINES": _Rule(
        _wrong_engines, "Write for example ['django.contrib.sessions.backends.db'].", tuple
    ),
    "REGIONS": _Rule(
        _or_none(_wrong_regions), "Write for example {'eu': 'redis://eu.example.com', 'us': …}.", _regions
    ),
    "REGION": _Rule(_or_none(_wrong_region)),
    "REGION_ROUTER": _Rule(_or_none(_wrong_path), "Name a function that takes a request and gives a name."),
}


assert {name.lower() for name in _RULES} == {known.name for known in fields(Settings)}
