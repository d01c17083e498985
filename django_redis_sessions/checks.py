"""What can ``manage.py check`` say about the configuration without asking Redis?

``conf.problems()`` are errors here; the running code raises the same ones. What ``diagnosis`` finds in the
settings are warnings; ``manage.py redis_sessions doctor`` shows the same ones, and more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from django_redis_sessions import conf, diagnosis, fallbacks, metrics, regions, sessions, visitors
from django_redis_sessions.configuration import Problem
from django_redis_sessions.diagnosis import Finding, Severity
from django_redis_sessions.errors import SessionStoreError, SessionStoreMisconfigured
from django_redis_sessions.middleware import SessionMiddleware
from django_redis_sessions.passwords import RevokeOtherSessions

TAG = "sessions"


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Every problem with ``SESSION_REDIS``, and the files and classes of session keys that it names."""
    return [_error(problem) for problem in conf.problems()]


@register(TAG)
def check_devices(**_: Any) -> list[CheckMessage]:
    """A function that ``DEVICES`` names and that cannot be called. Imports it."""
    if conf.problems() or (wrong := visitors.problem()) is None:
        return []
    return [_error(wrong)]


@register(TAG)
def check_site(**_: Any) -> list[CheckMessage]:
    """Settings that contradict each other, or that the site's caches and cookies do not go with."""
    return _of_site(diagnosis.CHECKS)


@register(TAG, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """What a site that people use should not have: a server of its own, a network in the clear, no password."""
    return _of_site(diagnosis.DEPLOY_CHECKS)


@register(TAG)
def check_password_validator(**_: Any) -> list[CheckMessage]:
    """``RevokeOtherSessions`` under Django's middleware, which cannot tell it whose change it is."""
    validators, middleware = _classes(conf.password_validators()), _classes(conf.middleware())
    if not _has(RevokeOtherSessions, validators):
        return []
    if _has(SessionMiddleware, middleware) or not _has(DjangoSessionMiddleware, middleware):
        return []
    return [
        Warning(
            "RevokeOtherSessions cannot know the session in which a password is changed, and ends it as well: "
            "whoever changes the own password is signed out with a 400.",
            hint="Use django_redis_sessions.middleware.SessionMiddleware in place of Django's in MIDDLEWARE.",
            id="django_redis_sessions.W010",
        )
    ]


@register(TAG)
def check_metrics(**_: Any) -> list[CheckMessage]:
    """Something that ``METRICS`` names and that cannot measure. Imports it."""
    if conf.problems() or (path := conf.given().get("METRICS")) is None:
        return []
    try:
        metrics.named(path)
    except SessionStoreMisconfigured as error:
        return [
            Error(
                str(error),
                hint="Name a subclass of django_redis_sessions.metrics.Metrics, or an object of one.",
                id="django_redis_sessions.E008",
            )
        ]
    return []


@register(TAG)
def check_region_router(**_: Any) -> list[CheckMessage]:
    """A function that ``REGION_ROUTER`` names and that cannot be called. Imports it."""
    if conf.problems() or (wrong := regions.problem()) is None:
        return []
    return [_error(wrong)]


@register(TAG)
def check_fallbacks(**_: Any) -> list[CheckMessage]:
    """An engine that ``FALLBACK_ENGINES`` names and that sessions cannot be adopted from. Imports it."""
    if conf.problems() or (wrong := fallbacks.problem()) is None:
        return []
    return [_error(wrong)]


@register(TAG, deploy=True)
def check_eviction(**_: Any) -> list[CheckMessage]:
    """A server that may evict any key ends sessions that are in use. Asks the server, one round trip."""
    if conf.problems():
        return []
    try:
        infos = sessions.server_facts()
    except SessionStoreError as error:
        return [
            Warning(
                f"The server could not be asked for its eviction policy: {error}",
                hint="Run the check where the site runs.",
                id="django_redis_sessions.W002",
            )
        ]
    found = [finding for info in infos for finding in diagnosis.eviction(info) if finding.id == "eviction"]
    # One message for several servers of the same policy.
    return _messages(list(dict.fromkeys(found)), {"eviction": "W003"})


def _error(problem: Problem) -> CheckMessage:
    return Error(problem.message, hint=problem.hint, id=f"django_redis_sessions.{problem.id}")


def _of_site(numbers: Mapping[str, str]) -> list[CheckMessage]:
    if conf.problems():
        return []
    found: dict[str | None, list[Finding]] = {}
    for region in regions.each():
        with regions.using(region):
            site = conf.site()
            # Who only moves in, or out, keeps the sessions somewhere else.
            found[region] = diagnosis.of_site(site) if site.is_engine else []
    return _messages(diagnosis.together(found), numbers)


def _messages(found: Sequence[Finding], numbers: Mapping[str, str]) -> list[CheckMessage]:
    """What is a warning or worse, as Django's warnings: only what stops a site from working is an error there."""
    return [
        Warning(
            f"In {finding.where}: {finding.message}" if finding.where else finding.message,
            hint=f"{finding.place}: {finding.line} ({finding.anchor})",
            id=f"django_redis_sessions.{numbers[finding.id]}",
        )
        for finding in found
        if finding.id in numbers and finding.severity >= Severity.WARNING
    ]


def _has(wanted: type, candidates: Iterable[object]) -> bool:
    return any(isinstance(found, type) and issubclass(found, wanted) for found in candidates)


def _classes(paths: Iterable[str]) -> list[object]:
    """What the settings name, as far as it can be imported; Django reports the rest where it needs it."""
    found: list[object] = []
    for path in paths:
        with suppress(ImportError):
            found.append(import_string(path))
    return found
