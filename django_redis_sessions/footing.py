"""How does a walk through all keys go on after its connection was lost, or after it was stopped?

Where a walk has come to is a cursor of SCAN, and that means something to one process of the server
alone: it counts through a hash table whose seed is drawn at random when the process starts. So a walk
goes on where it was on the same process, which is known by its ``run_id``, and begins again on any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django_redis_sessions.errors import SessionStoreUnavailable
from django_redis_sessions.operations import Aside, Command, Operation, Pause, Step, driven, or_raise

T = TypeVar("T")

#: How long to rest before the first further attempt, in seconds; each rest is twice as long as the last one.
FIRST_REST, LONGEST_REST = 0.1, 5.0
#: So many characters of a ``run_id`` tell processes apart.
_KNOWN_BY = 12

_WHO: Command = ("INFO", "server")
_RUN_ID = re.compile(r"^run_id:([0-9a-f]{12,})", re.ASCII | re.MULTILINE)
_PLACES = re.compile(r"[0-9a-f]{12}:(?:done|[0-9]{1,20})(?:,[0-9a-f]{12}:(?:done|[0-9]{1,20}))*", re.ASCII)


class Replaced(Exception):
    """Another process of the server answers, to whom a cursor means nothing: begin again from the first page."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a walk goes: at most ``rate`` sessions a second, and for how many seconds in all it waits for an answer.

    The time that attempts take is not counted.
    """

    rate: float | None = None
    patience: float = 0

    def rest(self, seen: int) -> float:
        """For how many seconds to rest after so many sessions."""
        return 0.0 if self.rate is None else seen / self.rate


#: As fast as it can be done, or not at all.
AT_ONCE = Pace()


@dataclass(slots=True)
class Place:
    """How far a walk has come on each process of a server: a cursor, None where it is done."""

    cursors: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Place:
        """The place that ``str()`` has named; ``ValueError`` if it has not."""
        if not text:
            return cls()
        if not _PLACES.fullmatch(text):
            raise ValueError("this is not where a walk was stopped")
        pairs = (part.split(":") for part in text.split(","))
        return cls({run_id: None if cursor == "done" else int(cursor) for run_id, cursor in pairs})

    def __str__(self) -> str:
        return ",".join(
            f"{run_id}:{'done' if cursor is None else cursor}" for run_id, cursor in self.cursors.items()
        )


class Footing:
    """What a walk stands on: one process of a server, waited for while its connection is lost.

    Once it is settled which process that is, each step asks it in the same round trip: a connection that
    the server has closed is replaced without a word, and the new one may lead to another process.
    Whoever does not wait asks for no ``run_id``, and is as fast as without this. Who is not ``bound``
    to a process, because it has no cursor of one, goes on with any.
    """

    def __init__(self, pace: Pace = AT_ONCE, *, bound: bool = True) -> None:
        self._patience = pace.patience
        self._is_bound = bound
        #: The process that answers; "" before it was asked, and where an ACL rule forbids that.
        self.run_id = ""

    def settle(self) -> Operation[None]:
        """Ask which process answers. One round trip."""
        (reply,) = yield [_WHO]
        self.run_id = _run_id_in(reply)

    def ask(self, step: Command | list[Command]) -> Operation[Any]:
        """The reply, or the replies; raises ``Replaced`` where another process answers.

        A step may be said twice when only its answer was lost.
        """
        rested, rest = 0.0, FIRST_REST
        while True:
            try:
                if rested and self._is_bound:
                    before = self.run_id
                    yield from self.settle()
                    if not before or before != self.run_id:
                        raise Replaced
                return (yield from self._said(step))
            except SessionStoreUnavailable:
                if rested >= self._patience:
                    raise
            yield Pause(rest)
            rested += rest
            rest = min(2 * rest, LONGEST_REST)

    def _said(self, step: Command | list[Command]) -> Operation[Any]:
        if not self.run_id:
            reply = yield step
            if isinstance(reply, list) and isinstance(step, list):
                _raise_if_away(reply)
            return reply
        who, *replies = yield [_WHO, *(step if isinstance(step, list) else [step])]
        _raise_if_away(replies)
        before, self.run_id = self.run_id, _run_id_in(who)
        if before != self.run_id:
            raise Replaced
        return replies if isinstance(step, list) else or_raise(replies[0])

    def take(self, operation: Operation[T]) -> Operation[T]:
        """``operation`` with each step as ``ask()`` says it; raises ``Replaced`` as that does."""

        def asked(step: Step) -> Operation[Any]:
            return (yield step) if isinstance(step, Aside) else (yield from self.ask(step))

        return driven(operation, asked)


def patiently(operation: Operation[T], patience: float) -> Operation[T]:
    """``operation``, which holds no cursor, with each step waited for so many seconds in all."""
    return Footing(Pace(patience=patience), bound=False).take(operation)


def _raise_if_away(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, SessionStoreUnavailable):
            raise reply


def _run_id_in(reply: Any) -> str:
    _raise_if_away([reply])
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    found = _RUN_ID.search(text)
    return found[1][:_KNOWN_BY] if found else ""
