"""What can a project measure of the work on its sessions?

One object, which the setting ``METRICS`` names, is told of everything that happens to a session in this
process: a subclass of ``Metrics`` that overrides what it wants to know. Without one nothing is measured,
and nothing is called. No argument holds a session key, a handle, an id or data.

Methods are called by the thread or the event loop that serves the request, after it has happened, and must
not wait. What they raise is logged once for each method and changes nothing.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import Any

from django_redis_sessions.errors import SessionStoreMisconfigured

_log = logging.getLogger("django_redis_sessions")

#: What ``operated()`` can be told of.
OPERATIONS = ("load", "exists", "create", "save", "delete", "cycle_key", "mutate", "see")
#: What may come of somebody else's save.
CONFLICTS = ("merged", "overwritten", "refused")


class Metrics:
    """Told of everything, and does nothing about it; the base of what ``METRICS`` names."""

    def operated(self, operation: str, seconds: float, outcome: str) -> None:
        """One of the ``OPERATIONS`` has taken so long, with all that it waited for.

        ``outcome``: ``"done"``, ``"missing"`` for a load that has found no session, ``"cancelled"``, else
        the name of the class that was raised. A record that was fetched ahead was not waited for by the load.
        """

    def read(self, size: int) -> None:
        """A record of so many bytes was read."""

    def wrote(self, size: int) -> None:
        """A record of so many bytes was sent, whether or not it was the one to win."""

    def touched(self) -> None:
        """A session's life was written, and nothing else of it."""

    def conflicted(self, outcome: str) -> None:
        """Somebody else had saved the session meanwhile; what came of it is one of ``CONFLICTS``."""

    def discarded(self, reason: str) -> None:
        """A stored session was not used, or a new one not stored; ``reason`` is the short phrase of
        ``CorruptRecord``, or one of these.

        ``"its life is over"``: ``ABSOLUTE_TTL`` has ended it. ``"its address has begun too many"``:
        ``ANONYMOUS_BUDGET`` is spent. ``"it is larger than MAX_SIZE"``: it was left at another engine. Reasons
        name no session.
        """

    def unavailable(self, error: str) -> None:
        """Redis did not answer, or with an error; ``error`` is the name of the class."""


@cache
def named(path: str) -> Metrics:
    """The object that a dotted path names, or one of the class; ``SessionStoreMisconfigured`` without one.

    The same one each time: a client library may take a name once only.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
        made = found() if isinstance(found, type) else found
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SessionStoreMisconfigured(
            f"SESSION_REDIS['METRICS'] is {path!r}, which cannot be used: {error}."
        ) from error
    if not isinstance(made, Metrics):
        raise SessionStoreMisconfigured(
            f"SESSION_REDIS['METRICS'] is {path!r}, which is no django_redis_sessions.metrics.Metrics."
        )
    return made


class Careful:
    """Hands on to a project's ``Metrics``; what goes wrong there is no matter of the request."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._failed: set[str] = set()

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of the project's object."""
        try:
            getattr(self.metrics, method)(*arguments)
        except Exception:  # whatever the project's code raises
            if method not in self._failed:
                self._failed.add(method)
                _log.exception("METRICS failed in %s(); this is logged once.", method)


def careful(path: str | None) -> Careful | None:
    """For the setting: None if nothing is to be measured, or if nothing can be, which is logged."""
    if path is None:
        return None
    try:
        return Careful(named(path))
    except SessionStoreMisconfigured as error:
        # Sessions are worth more than what is known about them.
        _log.error("Sessions are not measured: %s", error)
        return None
