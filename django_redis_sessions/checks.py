"""What can ``manage.py check`` say about the configuration without asking Redis?

``conf.problems()`` are errors here; the running code raises the same ones.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from django_redis_sessions import conf, sessions, visitors
from django_redis_sessions.configuration import SETTING, Problem
from django_redis_sessions.errors import SessionStoreError

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


@register(TAG, deploy=True)
def check_eviction(**_: Any) -> list[CheckMessage]:
    """A server that may evict any key ends sessions that are in use. Asks the server, one round trip."""
    if conf.problems():
        return []
    try:
        policies = {facts.get("maxmemory_policy", "") for facts in sessions.server_facts()}
    except SessionStoreError as error:
        return [
            Warning(
                f"The server could not be asked for its eviction policy: {error}",
                hint="Run the check where the site runs.",
                id="django_redis_sessions.W002",
            )
        ]
    evicting = sorted(policy for policy in policies if policy.startswith("allkeys-"))
    return [
        Warning(
            f"The server's maxmemory-policy is {policy}: when its memory is full it ends any session, in use or not.",
            hint="Set it to noeviction, or to volatile-lru on a server whose other keys have lifetimes too.",
            id="django_redis_sessions.W003",
        )
        for policy in evicting
    ]


@register(TAG, deploy=True)
def check_embedded_server(**_: Any) -> list[CheckMessage]:
    """The embedded server belongs to one machine and to development."""
    given = conf.given()
    if conf.is_debug() or conf.problems() or not given.get("URL", "").startswith("embedded:"):
        return []
    return [
        Warning(
            f"{SETTING}['URL'] starts a server of its own, which is meant for development and tests.",
            hint="Run a Redis or Valkey server that all machines of the site reach, and name it in the URL.",
            id="django_redis_sessions.W001",
        )
    ]


def _error(problem: Problem) -> CheckMessage:
    return Error(problem.message, hint=problem.hint, id=f"django_redis_sessions.{problem.id}")
