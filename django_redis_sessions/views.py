"""What does a signed-in person see of the own sessions, and do with them?

A page that lists them as devices, and two actions that it sends with POST. Both act only on what
the page would list at that moment, so whatever else a request names, somebody else's session or
nonsense, is a session that has ended already.

The views are synchronous, and under ASGI Django runs them in its thread: most of what they do,
from the user to the templates, is synchronous anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from django_redis_sessions import conf, sessions
from django_redis_sessions.infos import SessionInfo
from django_redis_sessions.wording import worded

#: Sessions on one page; more than a person has, fewer than a program that signs in all the time.
PER_PAGE = 50

View = Callable[[HttpRequest], HttpResponse]


@dataclass(frozen=True, slots=True)
class Device:
    """One session as its page shows it, in the reader's language."""

    info: SessionInfo
    #: Such as "Firefox on Windows".
    name: str
    #: How long ago it was last active, such as "5 minutes"; empty within the first minute.
    idle: str


def _for_the_owner(view: View) -> View:
    """What all views here ask for: a sign-in, a CSRF token, and a site that keeps an index of sessions."""

    @wraps(view)
    def owned(request: HttpRequest) -> HttpResponse:
        if not conf.store().settings.user_index:
            return render(request, "django_redis_sessions/devices_unknown.html", status=404)
        return view(request)

    return never_cache(csrf_protect(login_required(owned)))


@require_safe
@_for_the_owner
def devices(request: HttpRequest) -> HttpResponse:
    """The sessions of whoever is signed in: this one first, then the one that was last active."""
    infos = sorted(_own_sessions(request), key=lambda info: not info.is_current)
    page = Paginator(infos, PER_PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "django_redis_sessions/devices.html",
        {
            "devices": [_device(info) for info in page],
            "page": page,
            "has_others": any(not info.is_current for info in infos),
        },
    )


@require_POST
@_for_the_owner
def sign_out_device(request: HttpRequest) -> HttpResponse:
    """End one of the own sessions, named by its ``handle``; ending this one is an ordinary logout."""
    handle = request.POST.get("handle")
    info = next((info for info in _own_sessions(request) if info.handle == handle), None)
    if info is not None and info.is_current:
        logout(request)
        return redirect(resolve_url(conf.place_after_logout()))
    if info is not None and sessions.revoke(info.handle):
        _tell(request, messages.SUCCESS, gettext("That device is signed out."))
    else:
        _tell(request, messages.INFO, gettext("That session has ended already."))
    return redirect("django_redis_sessions:devices")


@require_POST
@_for_the_owner
def sign_out_other_devices(request: HttpRequest) -> HttpResponse:
    """End all sessions of whoever is signed in, except this one."""
    ended = sessions.revoke_user(request.user, keep=request.session)
    if ended:
        told = ngettext(
            "%(count)d other device is signed out.", "%(count)d other devices are signed out.", ended
        )
        _tell(request, messages.SUCCESS, told % {"count": ended})
    else:
        _tell(request, messages.INFO, gettext("No other device was signed in."))
    return redirect("django_redis_sessions:devices")


def _own_sessions(request: HttpRequest) -> list[SessionInfo]:
    return sessions.of_user(request.user, current=request.session)


def _device(info: SessionInfo) -> Device:
    idle = timesince(info.last_seen, depth=1)
    name = worded(info.user_agent) or gettext("Unknown device")
    # timesince() puts no-break spaces between numbers and units, in every language.
    return Device(info, name, "" if idle.startswith("0\xa0") else idle)


def _tell(request: HttpRequest, level: int, text: str) -> None:
    # Silent where the project does without messages; the page shows what has become of it anyway.
    messages.add_message(request, level, text, fail_silently=True)
