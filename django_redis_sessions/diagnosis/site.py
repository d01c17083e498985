"""What can be said of a site from its settings alone?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django_redis_sessions.configuration import SETTING, Problem
from django_redis_sessions.diagnosis.facts import Site, servers_of
from django_redis_sessions.diagnosis.findings import (
    DAY,
    SETTINGS,
    Finding,
    Severity,
    error,
    note,
    ok,
    span,
    warning,
)

#: The numbers of the system checks that report a finding of these rules, when it is a warning or worse.
CHECKS = {
    "cache-shared": "W004",
    "lifetimes": "W005",
    "save-every-request": "W006",
    "middleware": "W007",
    "cookie-samesite": "W008",
    "serializer": "W009",
}
#: The same for ``check --deploy``. Django has checks of its own for a cookie's other flags.
DEPLOY_CHECKS = {"embedded": "W001", "tls": "W011", "certificate": "W012", "password": "W013"}


def of_site(site: Site) -> list[Finding]:
    """Everything; no connection is needed."""
    return [finding for rule in _RULES for finding in rule(site)]


def of_problems(problems: Sequence[Problem]) -> list[Finding]:
    """What makes SESSION_REDIS unusable, before anything else can be looked at."""
    return [
        error("settings", f"{problem.message} {problem.hint or ''}".rstrip(), SETTINGS, f"{SETTING} = {{…}}")
        for problem in problems
    ]


def _engine(site: Site) -> Iterator[Finding]:
    if site.is_engine:
        yield ok("engine", "SESSION_ENGINE keeps sessions here.")
    elif site.is_leaving:
        message = "This site leaves: its sessions go to another engine when their visitors come."
        line = 'SESSION_ENGINE = "django.contrib.sessions.backends.…"  # after SESSION_COOKIE_AGE'
        yield note("engine", message, SETTINGS, line)
    else:
        line = 'SESSION_ENGINE = "django_redis_sessions.backend"'
        message = "SESSION_ENGINE is another one: this site keeps its sessions somewhere else."
        yield warning("engine", message, SETTINGS, line)


def _embedded(site: Site) -> Iterator[Finding]:
    if site.target.scheme != "embedded":
        return
    message = f"{SETTING}['URL'] starts a server of its own, which is meant for development and tests."
    # A place of one's own to put the line: which server, only the project knows.
    line = f'{SETTING}["URL"] = "redis://…"  # a Redis or Valkey server that all machines of the site reach'
    yield Finding(
        id="embedded", severity=_live(site, Severity.WARNING), message=message, place=SETTINGS, line=line
    )


def _tls(site: Site) -> Iterator[Finding]:
    if not site.is_remote:
        yield ok("tls", "Sessions do not leave this machine.")
    elif site.target.is_tls:
        yield ok("tls", "Connections are encrypted.")
    else:
        message = "Sessions and passwords cross the network in the clear."
        line = f'{SETTING}["URL"] = "{site.target.scheme.replace("redis", "rediss", 1)}://…"'
        severity = _live(site, Severity.WARNING)
        yield Finding(id="tls", severity=severity, message=message, place=SETTINGS, line=line)
    if site.target.is_tls and not site.verifies_certificates:
        yield warning(
            "certificate",
            "The server need not prove who it is, so somebody in between can read and change every session.",
            SETTINGS,
            f'{SETTING}["OPTIONS"]["ssl_ca_certs"] = "/path/to/ca.pem"  # and no ssl_cert_reqs, no ssl_check_hostname',
        )


def _password(site: Site) -> Iterator[Finding]:
    if site.has_password:
        yield ok("password", "The site proves who it is with a password.")
    elif site.is_remote:
        message = "The server is on another machine and the site gives it no password."
        line = f'{SETTING}["URL"] = "{site.target.scheme}://USER:PASSWORD@…"'
        severity = _live(site, Severity.ERROR)
        yield Finding(id="password", severity=severity, message=message, place=SETTINGS, line=line)
    elif site.target.scheme in ("unix", "embedded"):
        yield ok("password", "No password; the socket's permissions decide who gets in.")
    else:
        message = "No password: every program on this machine can read and change sessions."
        yield note(
            "password", message, SETTINGS, f'{SETTING}["URL"] = "{site.target.scheme}://USER:PASSWORD@…"'
        )


def _keys(site: Site) -> Iterator[Finding]:
    first, *others = site.settings.keys
    if "plain" in site.settings.keys:
        message = "Redis keys are the session keys: whoever reads their names, in a backup too, can sign in as anybody."
        line = f'{SETTING}["KEYS"] = ["hashed", "plain"]'
        if first != "plain":
            message = "Redis keys of sessions that were not saved since KEYS was changed are the session keys still."
            line = f'{SETTING}["KEYS"] = "{first}"  # once the longest life of a session has gone by'
        yield warning("keys", message, SETTINGS, line)
    elif first == "signed" and others:
        message = "A forged session key costs a round trip as long as unsigned ones are honoured."
        line = f'{SETTING}["KEYS"] = "signed"  # once the longest life of a session has gone by'
        yield note("keys", message, SETTINGS, line)
    else:
        yield ok("keys", "Who reads the names in Redis can sign in as nobody.")


def _seeds(site: Site) -> Iterator[Finding]:
    if "+" in site.target.scheme and len(site.target.hosts) == 1:
        kind = "cluster node" if site.target.is_cluster else "sentinel"
        message = f"The URL names one {kind}: while it is down, a process that starts finds nothing."
        line = f'{SETTING}["URL"] = "{site.target.scheme}://HOST,ANOTHER-HOST…"'
        yield warning("seeds", message, SETTINGS, line)


def _protocol(site: Site) -> Iterator[Finding]:
    if site.protocol == 2:
        yield ok("protocol", "RESP2 is spoken, which every server and proxy knows.")
    else:
        message = (
            f"RESP{site.protocol} is spoken: nothing here needs it, and each new connection says HELLO first."
        )
        yield note("protocol", message, SETTINGS, f'del {SETTING}["OPTIONS"]["protocol"]')


def _serializer(site: Site) -> Iterator[Finding]:
    if "pickle" in site.serializer.lower():
        message = "SESSION_SERIALIZER unpickles: whoever can write to Redis can run code on every machine of the site."
        line = 'SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"'
        yield warning("serializer", message, SETTINGS, line)
    else:
        yield ok("serializer", "SESSION_SERIALIZER does not unpickle.")


def _cookie(site: Site) -> Iterator[Finding]:
    if site.cookie_secure:
        yield ok("cookie-secure", "Browsers send the cookie over HTTPS alone.")
    else:
        yield Finding(
            id="cookie-secure",
            severity=_live(site, Severity.WARNING),
            message="Browsers send the session cookie over plain HTTP too, where anybody on the way can take it.",
            place=SETTINGS,
            line="SESSION_COOKIE_SECURE = True",
        )
    if site.cookie_httponly:
        yield ok("cookie-httponly", "Scripts in a page cannot read the cookie.")
    else:
        message = "Scripts in a page can read the session cookie, those of an attacker too."
        yield warning("cookie-httponly", message, SETTINGS, "SESSION_COOKIE_HTTPONLY = True")
    yield _samesite(site)


def _samesite(site: Site) -> Finding:
    # Django writes None as False, and "None" as what browsers call None.
    if site.cookie_samesite == "None" and not site.cookie_secure:
        message = "Browsers refuse a cookie with SameSite=None that is not Secure: nobody can sign in."
        return error("cookie-samesite", message, SETTINGS, "SESSION_COOKIE_SECURE = True")
    if site.cookie_samesite == "None" or not site.cookie_samesite:
        message = (
            "Other sites' pages can make requests in the name of who is signed in; CSRF tokens alone protect."
        )
        return note("cookie-samesite", message, SETTINGS, 'SESSION_COOKIE_SAMESITE = "Lax"')
    return ok("cookie-samesite", "Other sites' forms do not carry the cookie.")


def _save_every_request(site: Site) -> Iterator[Finding]:
    if site.saves_every_request and site.settings.rolling is not None:
        message = (
            "SESSION_SAVE_EVERY_REQUEST extends every session with every request, so ROLLING does nothing."
        )
        yield warning("save-every-request", message, SETTINGS, "SESSION_SAVE_EVERY_REQUEST = False")
    elif site.saves_every_request:
        message = "SESSION_SAVE_EVERY_REQUEST writes with every request; ROLLING extends a life only when it is due."
        line = f'SESSION_SAVE_EVERY_REQUEST = False; {SETTING}["ROLLING"] = 0.5'
        yield note("save-every-request", message, SETTINGS, line)


def _lifetimes(site: Site) -> Iterator[Finding]:
    found = list(_contradictions(site))
    yield from found or [ok("lifetimes", "No setting of a session's life makes another one idle.")]
    if site.expires_at_browser_close and site.idle_life > DAY:
        yield note(
            "browser-close",
            f"Browsers forget the cookie when they close; Redis keeps the session for {span(site.idle_life)} more.",
            SETTINGS,
            f'{SETTING}["TTL"] = {DAY // 2}',
        )


def _contradictions(site: Site) -> Iterator[Finding]:
    given, idle = site.settings, site.idle_life
    if given.ttl is not None and site.sets_cookie_age and site.cookie_age != given.ttl:
        message = "TTL decides for record and cookie, so SESSION_COOKIE_AGE, which says something else, does nothing."
        yield warning("lifetimes", message, SETTINGS, f"SESSION_COOKIE_AGE = {given.ttl}")
    if given.absolute_ttl is not None and given.absolute_ttl < idle:
        message = (
            f"ABSOLUTE_TTL ends every session after {span(given.absolute_ttl)}, so its idle life of {span(idle)} "
            f"is never reached."
        )
        line = f'{SETTING}["TTL"] = {given.absolute_ttl}  # or less'
        # A limit on top of Django's two weeks is how one limits a session, not a contradiction.
        say = warning if given.ttl is not None else note
        yield say("lifetimes", message, SETTINGS, line)
    if given.anonymous_ttl is not None and given.anonymous_ttl >= idle:
        message = (
            f"ANONYMOUS_TTL is not below the idle life of all sessions ({span(idle)}), so it does nothing."
        )
        yield warning("lifetimes", message, SETTINGS, f'{SETTING}["ANONYMOUS_TTL"] = {max(1, idle // 2)}')
    shortest = min(idle, given.anonymous_ttl or idle)
    if given.probation_ttl is not None and given.probation_ttl >= shortest:
        message = f"PROBATION_TTL is not below the life of anonymous sessions ({span(shortest)}), so it does nothing."
        yield warning("lifetimes", message, SETTINGS, f'{SETTING}["PROBATION_TTL"] = {max(1, shortest // 2)}')
    if "LAST_SEEN" in site.given and given.last_seen is not None and given.last_seen >= idle:
        message = f"LAST_SEEN is not below the idle life ({span(idle)}): sessions end before anybody is noted as seen."
        yield warning("lifetimes", message, SETTINGS, f'{SETTING}["LAST_SEEN"] = {max(1, idle // 10)}')


def _middleware(site: Site) -> Iterator[Finding]:
    idle = {
        "ROLLING": site.settings.rolling is not None,
        "INTERRUPTED": site.settings.interrupted == "drop",
        "ON_OUTAGE": site.settings.on_outage == "anonymous",
        "ANONYMOUS_BUDGET": site.settings.anonymous_budget is not None,
        "DEVICES": "DEVICES" in site.given and site.settings.devices is not None,
        "LAST_SEEN": "LAST_SEEN" in site.given and site.settings.last_seen is not None,
    }
    names = [name for name, is_set in idle.items() if is_set]
    line = '"django_redis_sessions.middleware.SessionMiddleware" in place of Django\'s in MIDDLEWARE'
    if site.has_middleware:
        yield ok("middleware", "MIDDLEWARE has this package's.")
    elif names:
        without = [name for name in names if name != "ROLLING"]
        effects = [f"{', '.join(without)} {'have' if without[1:] else 'has'} no effect"] if without else []
        effects += ["ROLLING does not renew the cookie"] if "ROLLING" in names else []
        message = f"Under Django's middleware {' and '.join(effects)}."
        yield warning("middleware", message, SETTINGS, line)
    else:
        message = (
            "Under Django's middleware an outage is an error 500, and asynchronous requests use a thread."
        )
        yield note("middleware", message, SETTINGS, line)


def _caches(site: Site) -> Iterator[Finding]:
    if site.target.scheme == "embedded":
        return
    ours = servers_of(site.target)
    near = [cache for cache in site.caches if ours & {server for server, _ in cache.places}]
    for cache in near:
        if any((server, site.database) in cache.places for server in ours):
            message = (
                f"The cache {cache.alias!r} is in the sessions' database: cache.clear() empties it and signs "
                f"everybody out."
            )
            line = f'CACHES["{cache.alias}"]["LOCATION"] = "redis://ANOTHER-SERVER…"'
            yield error("cache-shared", message, SETTINGS, line)
        else:
            message = f"The cache {cache.alias!r} is on the sessions' server, so both share its memory and eviction."
            yield note(
                "cache-shared", message, SETTINGS, f'CACHES["{cache.alias}"]["LOCATION"] = "redis://…"'
            )
    if not near:
        yield ok("cache-shared", "No cache of CACHES is on the sessions' server.")


def _live(site: Site, severity: Severity) -> Severity:
    """What matters less on a developer's machine."""
    return Severity.NOTE if site.is_debug else severity


_RULES = (
    _engine, _embedded, _tls, _password, _keys, _seeds, _protocol, _serializer, _cookie,
    _save_every_request, _lifetimes, _middleware, _caches,
)  # fmt: skip
