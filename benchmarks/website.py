"""Which pages do whole requests ask for?

``/count/`` reads and writes its session, ``/untouched/`` leaves it alone.
"""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.content import TYPICAL


def _page(text: str) -> HttpResponse:
    return HttpResponse(text, headers={"Content-Length": str(len(text))})


def count(request: HttpRequest) -> HttpResponse:
    """A signed-in visitor with a cart, who is counted."""
    session = request.session
    visits = session.get("visits", 0)
    if not visits:
        session.update(TYPICAL)
    session["visits"] = visits + 1
    return _page(f"Visit {visits + 1}")


async def acount(request: HttpRequest) -> HttpResponse:
    """Async twin of ``count()``."""
    session = request.session
    visits = await session.aget("visits", 0)
    if not visits:
        await session.aupdate(TYPICAL)
    await session.aset("visits", visits + 1)
    return _page(f"Visit {visits + 1}")


def untouched(request: HttpRequest) -> HttpResponse:
    """A page for everybody."""
    return _page("The same for all")


async def auntouched(request: HttpRequest) -> HttpResponse:
    """Async twin of ``untouched()``."""
    return _page("The same for all")


_is_async = os.environ.get("BENCHMARK_PROTOCOL") == "asgi"
urlpatterns = [
    path("count/", acount if _is_async else count),
    path("untouched/", auntouched if _is_async else untouched),
]
