"""Which pages do whole requests ask for?

``/count/`` reads and writes its session, ``/read/`` reads it, ``/untouched/`` leaves it alone;
``/browse/`` gives a stranger a cart, ``/sign-in/`` and ``/sign-out/`` do what they say, ``/change/``
changes whatever session there is.
"""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import count as numbers

from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.content import ANONYMOUS, TYPICAL

_users = numbers(100_001)


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


def read(request: HttpRequest) -> HttpResponse:
    """A visitor whose session is looked at."""
    return _page(f"Visit {request.session.get('visits', 0)}")


def change(request: HttpRequest) -> HttpResponse:
    """A visitor who is counted, with whatever the session holds."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return _page("Counted")


def browse(request: HttpRequest) -> HttpResponse:
    """A stranger who puts things into a cart."""
    request.session.update(ANONYMOUS)
    return _page("Three things in your cart")


def sign_in(request: HttpRequest) -> HttpResponse:
    """Somebody signs in, each time another one; no password is checked and no database asked."""
    from django.contrib.auth import login
    from django.contrib.auth.models import User

    user = User(pk=next(_users))
    user.password = sha256(str(user.pk).encode()).hexdigest()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return _page("Welcome")


def sign_out(request: HttpRequest) -> HttpResponse:
    """They sign out, after it was read from the session who they are."""
    from django.contrib.auth import SESSION_KEY, logout

    if SESSION_KEY in request.session:
        logout(request)
    return _page("Come again")


_is_async = os.environ.get("BENCHMARK_PROTOCOL") == "asgi"
urlpatterns = [
    path("count/", acount if _is_async else count),
    path("untouched/", auntouched if _is_async else untouched),
    path("read/", read),
    path("change/", change),
    path("browse/", browse),
    path("sign-in/", sign_in),
    path("sign-out/", sign_out),
]
