"""What happens to a session at both ends of a request?

A subclass of Django's middleware that can stand in its place. It differs where Django's cannot know
better: an unknown cookie creates no record under SESSION_SAVE_EVERY_REQUEST, ``INTERRUPTED`` is
honoured, a life that reading has extended renews the cookie, and an asynchronous request neither
loads nor saves its session through a thread. Of signed-in sessions it keeps when and where they were
last seen. A Redis that cannot be reached is answered with 503, or
with pages without a session, and never costs anybody the cookie.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils.cache import patch_vary_headers
from django.utils.html import escape
from django.utils.http import http_date
from django.utils.translation import get_language, gettext

from django_redis_sessions import conf, current, floods, regions
from django_redis_sessions.devices import Device
from django_redis_sessions.errors import (
    SessionBudgetSpent,
    SessionConflict,
    SessionLimitReached,
    SessionStoreUnavailable,
)
from django_redis_sessions.seen import SeenSession
from django_redis_sessions.visitors import device_of, network_of

#: Seconds after which a client may try again.
RETRY_AFTER = 2
#: The header of a response that was made without a session, because Redis could not be reached.
OUTAGE_HEADER = "X-Session-Store"

_log = logging.getLogger("django_redis_sessions")


class SessionMiddleware(DjangoSessionMiddleware):
    """Gives each request its session, saves it with the response, keeps the cookie in step."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        # A project's subclass may have a process_request() or process_response() of its own.
        self._is_native = type(self).process_request is SessionMiddleware.process_request and (
            type(self).process_response is SessionMiddleware.process_response
        )

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session."""
        super().process_request(request)
        current.session.set(request.session)
        settings = conf.store().settings
        if settings.on_outage == "anonymous":
            request.session.tolerates_outage = True  # type: ignore[attr-defined]  # not every engine's
        if settings.anonymous_budget is not None:
            request.session.network = partial(network_of, request)  # type: ignore[attr-defined]  # as above
        if settings.region_router is not None:
            request.session.place = partial(regions.chosen_for, request)  # type: ignore[attr-defined]  # as above

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A view that could not do without its session: 503, or 429. One that could sign nobody in any more: 403."""
        if isinstance(exception, SessionStoreUnavailable):
            return unavailable(request, exception)
        if isinstance(exception, SessionLimitReached):
            return limit_reached(request, exception)
        if isinstance(exception, SessionBudgetSpent):
            return budget_spent(request)
        return None

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """The whole request on the event loop; the session's record is fetched while other middleware runs."""
        if not self._is_native:
            response: HttpResponseBase = await super().__acall__(request)
            return response
        self.process_request(request)
        if request.session.session_key is not None and hasattr(request.session, "load_ahead"):
            request.session.load_ahead()
        get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]] = self.get_response  # type: ignore[assignment]
        return await self._aprocess_response(request, await get_response(request))

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """Save a session that was modified, and set, renew or delete its cookie."""
        current.session.set(None)
        closing = _Closing(request, response)
        if closing.has_to_load():
            with closing.attempt():
                request.session._get_session()  # type: ignore[attr-defined]  # django-stubs leaves it out
        if closing.has_to_save():
            with closing.attempt():
                request.session.save()
        elif closing.has_to_see():
            request.session.see(closing.device())  # type: ignore[attr-defined]  # not every engine's
        return closing.finish()

    async def _aprocess_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Async twin of ``process_response()``."""
        current.session.set(None)
        closing = _Closing(request, response)
        if closing.has_to_load():
            with closing.attempt():
                await request.session._aget_session()  # type: ignore[attr-defined]  # as above
        if closing.has_to_save():
            with closing.attempt():
                await request.session.asave()
        elif closing.has_to_see():
            await request.session.asee(closing.device())  # type: ignore[attr-defined]  # as above
        return closing.finish()


def unavailable(request: HttpRequest, error: SessionStoreUnavailable) -> HttpResponse:
    """503 with Retry-After, as JSON for clients that ask for it, else the project's ``503.html`` or a plain page.

    Nobody's cookie is touched: whoever comes back in a moment is still signed in.
    """
    _log.info("A request failed because sessions are unavailable: %s", error)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        response: HttpResponse = JsonResponse({"error": "sessions are unavailable"}, status=503)
    else:
        title = gettext("Temporarily unavailable")
        text = gettext(
            "This page needs something that does not answer just now. "
            "Please try again in a moment; you stay signed in."
        )
        response = HttpResponse(_page("503.html", title, text), status=503)
    response["Retry-After"] = str(RETRY_AFTER)
    response["Cache-Control"] = "no-store"
    return response


def limit_reached(request: HttpRequest, error: SessionLimitReached) -> HttpResponse:
    """403, as JSON for clients that ask for it, else the project's ``session_limit.html`` or a plain page."""
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        body = {"error": "too many sessions", "limit": error.limit}
        response: HttpResponse = JsonResponse(body, status=403)
    else:
        title = gettext("You are signed in too often")
        text = gettext(
            "You are signed in on as many devices as is allowed. Sign out on one of them, and try again."
        )
        response = HttpResponse(_page("session_limit.html", title, text), status=403)
    response["Cache-Control"] = "no-store"
    return response


def budget_spent(request: HttpRequest) -> HttpResponse:
    """429 with Retry-After, as JSON for clients that ask for it, else the project's ``429.html`` or a plain page."""
    number, seconds = conf.store().settings.anonymous_budget or (1, 1)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        response: HttpResponse = JsonResponse({"error": "too many new sessions"}, status=429)
    else:
        title = gettext("Too many visits")
        text = gettext("Too many visits have begun at your address. Please try again later, or sign in.")
        response = HttpResponse(_page("429.html", title, text), status=429)
    response["Retry-After"] = str(-(-seconds // number))
    response["Cache-Control"] = "no-store"
    return response


def _page(template: str, title: str, text: str) -> str:
    try:
        return get_template(template).render({}, request=None)
    except TemplateDoesNotExist:
        return _PAGE.format(language=get_language() or "en", title=escape(title), text=escape(text))


_PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""


class _Closing:
    """The decisions at the end of one request; whoever owns it does the waiting."""

    def __init__(self, request: HttpRequest, response: HttpResponseBase) -> None:
        self.request = request
        self.response = response
        self.session = getattr(request, "session", None)
        self.outage: SessionStoreUnavailable | None = getattr(self.session, "outage", None)
        self.has_cookie = conf.cookie_name() in request.COOKIES
        self.varies = self.is_saved = self.is_interrupted = self.has_failed = False
        if self.session is not None:
            # Read before anything is loaded on behalf of the middleware alone.
            self.varies = self.session.accessed
            self.wants_saving = self.session.modified or conf.saves_every_request()

    def has_to_load(self) -> bool:
        """Whether only loading can tell if there is anything to save."""
        return (
            self.session is not None
            and self.wants_saving
            and not self._goes_without()
            and not hasattr(self.session, "_session_cache")
            and not self.session.is_empty()
        )

    def has_to_save(self) -> bool:
        """Whether the session is to be stored; a failed request's changes are not."""
        if self.session is None or not self.wants_saving or self.session.is_empty():
            return False
        if self.has_failed or self._goes_without():
            return False
        self.is_saved = self.response.status_code < 500
        if self.is_saved and isinstance(self.session, SeenSession):
            self.session.carry(self.device() if self.session.is_signed_in else None)
        return self.is_saved

    def has_to_see(self) -> bool:
        """Whether it is time to store that the visitor was here, as nothing else is stored."""
        if self.outage is not None or self.response.status_code >= 500:
            return False
        return isinstance(self.session, SeenSession) and self.session.is_due_to_be_seen

    def device(self) -> Device | None:
        """From where the request comes, as the project wants it recorded."""
        return device_of(self.request)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around what may find the session deleted, Redis away or the user signed in too often already."""
        try:
            yield
        except UpdateError as error:
            self._interrupt(error)
        except SessionStoreUnavailable as error:
            self._fail(error)
        except SessionLimitReached as error:
            self._refuse(error)
        except SessionBudgetSpent:
            self._drop()

    def finish(self) -> HttpResponseBase:
        """The response, with the cookie and the Vary header it needs."""
        if self.session is None:
            return self.response
        if self.outage is not None and (self.has_failed or self.response.status_code == 500):
            # A 500 is what other middleware's meeting with the outage has been made into by now.
            return unavailable(self.request, self.outage)
        if self.is_interrupted:
            self.varies = True
        elif self._goes_without():
            self.response[OUTAGE_HEADER] = "unavailable"
            self.varies = True
        elif self.session.is_empty():
            if self.has_cookie:
                self.response.delete_cookie(**conf.cookie_place())
                self.varies = True
        elif self.is_saved or (
            getattr(self.session, "was_extended", False) and self.response.status_code < 500
        ):
            self._set_cookie()
            self.varies = True
        if self.varies:
            patch_vary_headers(self.response, ("Cookie",))
        return self.response

    def _interrupt(self, error: UpdateError) -> None:
        """The session was deleted during the request: fail, or keep the response and drop the changes.

        The cookie stays: when the session has moved to another key, because the visitor signed in
        beside this request, the browser has the new cookie by now.
        """
        if isinstance(error, SessionConflict):
            # Nothing is gone: the view wanted to know about this one.
            raise error
        if conf.store().settings.interrupted == "raise":
            raise SessionInterrupted(
                "The request's session was deleted before the request completed. "
                "The user may have logged out in a concurrent request, for example."
            ) from error
        self.is_interrupted = True

    def _fail(self, error: SessionStoreUnavailable) -> None:
        """What the request has changed could not be saved: say so, and leave the cookie alone."""
        self.outage = error
        self.has_failed = True

    def _refuse(self, error: SessionLimitReached) -> None:
        """Nobody was signed in: the visitor goes on with the anonymous session that is stored."""
        self.response = limit_reached(self.request, error)

    def _drop(self) -> None:
        """A stranger's session is not stored: the page goes out, without a cookie."""
        self.is_saved, self.varies = False, True
        floods.tell()

    def _goes_without(self) -> bool:
        """Whether the request has had no session because Redis could not be reached."""
        return getattr(self.session, "is_unavailable", False)

    def _set_cookie(self) -> None:
        assert self.session is not None
        max_age = expires = None
        if not self.session.get_expire_at_browser_close():
            max_age = self.session.get_expiry_age()
            expires = http_date(time.time() + max_age)
        self.response.set_cookie(
            value=self.session.session_key,
            max_age=max_age,
            expires=expires,
            **conf.cookie_place(),
            **conf.cookie_flags(),
        )
