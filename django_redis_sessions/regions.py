"""Which region is meant, where a project keeps its sessions in several?

A session's key says where it lives. Of a new one ``REGION_ROUTER`` decides, and of what concerns all sessions
whoever asks: with ``using()`` one region, without it all of them, each of which can be down without the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Generic, NamedTuple, TypeVar

from django.http import HttpRequest

from django_redis_sessions import conf
from django_redis_sessions.configuration import SETTING, Problem
from django_redis_sessions.errors import SessionStoreMisconfigured, SessionStoreUnavailable
from django_redis_sessions.executors import arun, run
from django_redis_sessions.operations import Operation
from django_redis_sessions.references import function_named

T = TypeVar("T")

_log = logging.getLogger("django_redis_sessions")


def names() -> list[str]:
    """The regions that ``REGIONS`` names, or the one that is in use; empty where there are none."""
    stores = conf.stores()
    if not stores.by_region:
        return []
    chosen = conf.region.get()
    return [*stores.by_region] if chosen is None else [chosen]


def each() -> list[str | None]:
    """What to go through with ``using()``, one after the other: the ``names()``, or None where there are none."""
    return [*names()] or [None]


@contextmanager
def using(region: str | None) -> Iterator[None]:
    """In this block ``sessions`` and ``revocations`` are about this region alone; None changes nothing.

    For the task or the thread that is in it. ``SessionStoreMisconfigured`` if ``REGIONS`` does not name it.
    """
    if region is None:
        yield
        return
    conf.stores().named(region)
    token = conf.region.set(region)
    try:
        yield
    finally:
        conf.region.reset(token)


def chosen_for(request: HttpRequest) -> str | None:
    """Where a new session of ``request`` is to live, by ``REGION_ROUTER``; None: where this process is at home."""
    router = conf.store().settings.region_router
    if router is None:
        return None
    region = function_named(router)(request)
    if region is not None and region not in conf.stores().by_region:
        raise SessionStoreMisconfigured(
            f"{SETTING}['REGION_ROUTER'] gave {region!r}, which {SETTING}['REGIONS'] does not name."
        )
    return region  # type: ignore[no-any-return]  # it is one of the names


def problem() -> Problem | None:
    """What is wrong with the function that ``REGION_ROUTER`` names, if it names one. Imports it."""
    router = conf.store().settings.region_router
    if router is None:
        return None
    try:
        function_named(router)
    except Exception as error:  # whatever the project's module raises while it is imported
        return Problem(
            "E011",
            f"{SETTING}['REGION_ROUTER'] names {router}, which cannot be used: {error}.",
            "It has to be a function that takes a request and gives the name of a region or None.",
        )
    return None


class Answers(NamedTuple, Generic[T]):
    """What came of the same question in every region: results, and errors of regions that are down, by name."""

    results: dict[str | None, T]
    errors: dict[str | None, SessionStoreUnavailable]

    def reachable(self) -> list[T]:
        """The results of those that answer, the others are logged; raised only if none does."""
        if self.errors and not self.results:
            raise next(iter(self.errors.values()))
        for region, error in self.errors.items():
            _log.warning("The sessions in region %s are missing: %s", region, error)
        return [*self.results.values()]

    def all(self) -> list[T]:
        """The results of all; raised if one does not answer, when the others have done what they were asked to."""
        for region, error in self.errors.items():
            if region is None:
                raise error
            raise SessionStoreUnavailable(f"In region {region}: {error}", address=error.address) from error
        return [*self.results.values()]


def ask(make: Callable[[], Operation[T]]) -> Answers[T]:
    """Perform an operation in each region that is meant, in all of them at a time; the one there is otherwise."""
    meant = each()
    if len(meant) == 1:
        return _gathered([(meant[0], _asked(meant[0], make))])
    with ThreadPoolExecutor(len(meant), "session-regions") as pool:
        asked = [pool.submit(copy_context().run, _asked, region, make) for region in meant]
        return _gathered(zip(meant, [future.result() for future in asked], strict=True))


async def aask(make: Callable[[], Operation[T]]) -> Answers[T]:
    """Async twin of ``ask()``."""
    meant = each()
    found = await asyncio.gather(*(_aasked(region, make) for region in meant))
    return _gathered(zip(meant, found, strict=True))


def in_turn(make: Callable[[], Operation[T]]) -> Answers[T]:
    """Perform an operation in each region that is meant, one after the other, whichever of them are down."""
    return _gathered([(region, _asked(region, make)) for region in each()])


async def ain_turn(make: Callable[[], Operation[T]]) -> Answers[T]:
    """Async twin of ``in_turn()``."""
    return _gathered([(region, await _aasked(region, make)) for region in each()])


def _asked(region: str | None, make: Callable[[], Operation[T]]) -> T | SessionStoreUnavailable:
    with using(region):
        try:
            return run(conf.store().connections.client(), make())
        except SessionStoreUnavailable as error:
            return error


async def _aasked(region: str | None, make: Callable[[], Operation[T]]) -> T | SessionStoreUnavailable:
    """Async twin of ``_asked()``; in a task of its own."""
    with using(region):
        try:
            return await arun(conf.store().connections.async_client(), make())
        except SessionStoreUnavailable as error:
            return error


def _gathered(found: Iterable[tuple[str | None, T | SessionStoreUnavailable]]) -> Answers[T]:
    answers: Answers[T] = Answers({}, {})
    for region, answer in found:
        if isinstance(answer, SessionStoreUnavailable):
            answers.errors[region] = answer
        else:
            answers.results[region] = answer
    return answers
